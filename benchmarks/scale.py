"""How much is measured. All counts and times are bounded here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    starts: int = 3
    """Warm starts of `gridbroker up`."""
    clients: int = 20
    """Organisations with a funded wallet, each with one connection."""
    rate_per_s: float = 100.0
    submit_s: float = 30.0
    warmup_s: float = 3.0
    """Submits before the measured ones, at the same rate, that count for nothing."""
    sequential: int = 30
    """Workloads sent one after another to one idle node."""
    workloads: int = 1000
    agents: int = 50
    busy_s: float = 3.0
    """Submits at the same rate while the simulated agents work."""
    drain_timeout_s: float = 240.0
    pgbench_s: int = 10
    pgbench_scale: int = 10


QUICK = Scale(
    starts=1,
    submit_s=5.0,
    warmup_s=1.0,
    sequential=5,
    workloads=100,
    agents=10,
    busy_s=1.0,
    drain_timeout_s=90.0,
    pgbench_s=2,
    pgbench_scale=2,
)
