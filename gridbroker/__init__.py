"""Gridbroker: an energy-aware compute broker for GPU workloads."""

__version__ = "0.1.0"
