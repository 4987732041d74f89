"""Which GPUs of a node a workload gets: whole ones, lowest indices first, so that free ones stay together."""

from collections.abc import Sequence


def pick(free_gpus: Sequence[int], gpu_count: int) -> tuple[int, ...] | None:
    """The `gpu_count` lowest of `free_gpus`, ascending, or None when there are too few."""
    if len(free_gpus) < gpu_count:
        return None
    return tuple(sorted(free_gpus)[:gpu_count])
