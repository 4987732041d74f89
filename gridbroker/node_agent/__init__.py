"""Runs on the GPU machine: one process that only calls out, built from the standard library (and NVML where there is a GPU)."""
