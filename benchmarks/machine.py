"""What the figures were measured on."""

import os
import platform
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import gridbroker
from benchmarks.figures import rounded
from gridbroker.core.clock import SystemClock

SYNCS = 50
BLOCK = b"\0" * 8192


def facts(folder: Path) -> dict[str, Any]:
    """`fsync_ms` is what one durable 8 KiB write costs on the disk of the data folders: nothing commits faster."""
    return {
        "measured_at": SystemClock().now().isoformat(timespec="seconds"),
        "gridbroker": gridbroker.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": rounded(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "fsync_ms": rounded(_fsync_ms(folder)),
    }


def load() -> list[float]:
    """How busy the machine is: processes ready to run, mean over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _fsync_ms(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:
        return statistics.median(_sync_ms(file.fileno()) for _ in range(SYNCS))


def _sync_ms(descriptor: int) -> float:
    started = perf_counter()
    os.write(descriptor, BLOCK)
    os.fsync(descriptor)
    return (perf_counter() - started) * 1000
