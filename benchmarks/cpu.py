"""Processor time by process, from /proc: unlike waiting times, it hardly depends on what else the machine does."""

import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.figures import rounded

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def used_s(roots: Mapping[str, int]) -> dict[str, float]:
    """Seconds of processor time so far of each named process with all that descends from it. Empty where there is no /proc."""
    stats = {pid: fields for pid, fields in map(_stat, Path("/proc").glob("[0-9]*")) if fields}
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in stats.items():
        children.setdefault(parent, []).append(pid)
    return {name: _tree_ticks(root, stats, children) / _TICKS_PER_S for name, root in roots.items() if root in stats}


def per_piece_ms(before: Mapping[str, float], after: Mapping[str, float], pieces: int) -> dict[str, float | None]:
    """What each process used in between for one piece of work, in ms."""
    return {name: rounded((after[name] - before[name]) * 1000 / pieces, 2) for name in before.keys() & after.keys()}


def _tree_ticks(root: int, stats: Mapping[int, tuple[int, int]], children: Mapping[int, list[int]]) -> int:
    return stats[root][1] + sum(_tree_ticks(child, stats, children) for child in children.get(root, ()))


def _stat(folder: Path) -> tuple[int, tuple[int, int] | None]:
    """Parent and ticks used, those of ended children included; None for a process that is gone."""
    try:
        text = (folder / "stat").read_text()
    except OSError:
        return int(folder.name), None
    return int(folder.name), parse_stat(text)


def parse_stat(text: str) -> tuple[int, int]:
    """Of a line of /proc/PID/stat, whose second field may hold spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), sum(int(field) for field in fields[11:15])
