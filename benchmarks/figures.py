"""Turning measurements into figures. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Nearest-rank quantiles of a sample, in the sample's unit."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError for an empty sample: no figure is made up."""
    ordered = sorted(values)
    return Spread(len(ordered), *(quantile(ordered, share) for share in (0.5, 0.95, 0.99, 1.0)))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value of the ascending sample that at least `share` (0 to 1) of it does not exceed; never between two."""
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def due_s(number: int, rate_per_s: float) -> float:
    """When request `number` (from 0) is to leave, in seconds after the start, whatever became of those before it."""
    return number / rate_per_s


def numbers_of(client: int, clients: int, total: int) -> range:
    """Which requests a client sends: they go round, so that each sends at the same pace, evenly out of step with the others."""
    return range(client, total, clients)


def rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
