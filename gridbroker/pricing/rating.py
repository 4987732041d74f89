"""From use to money: what placements cost, and when a hold is used up. All integers, EUR micro-units."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gridbroker.core.units import MILLISECONDS_PER_HOUR, div_ceil, duration_ms

_FARTHEST_MS = 10 * 365 * 24 * MILLISECONDS_PER_HOUR
"""Ten years: a hold that lasts longer does not run out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one placement is billed for."""

    duration_ms: int
    gpu_count: int
    price_micro_per_gpu_hour: int


def usage(started_at: datetime, ended_at: datetime, gpu_count: int, price_micro_per_gpu_hour: int) -> Usage:
    """The time of a placement in whole milliseconds, rounded down."""
    return Usage(
        duration_ms=max(0, duration_ms(started_at, ended_at)),
        gpu_count=gpu_count,
        price_micro_per_gpu_hour=price_micro_per_gpu_hour,
    )


def charge_micro(duration_ms: int, gpu_count: int, price_micro_per_gpu_hour: int) -> int:
    """The charge of one placement, rounded up once so that the platform never under-bills."""
    return div_ceil(duration_ms * gpu_count * price_micro_per_gpu_hour, MILLISECONDS_PER_HOUR)


def rate(usages: Sequence[Usage], cap_micro: int | None = None) -> tuple[int, ...]:
    """The charge of each placement, in the order given; charges beyond `cap_micro`, the hold, are cut from the last ones."""
    charges: list[int] = []
    left = cap_micro
    for used in usages:
        charge = charge_micro(used.duration_ms, used.gpu_count, used.price_micro_per_gpu_hour)
        if left is not None:
            charge = min(charge, left)
            left -= charge
        charges.append(charge)
    return tuple(charges)


def cost_of(usages: Sequence[Usage], cap_micro: int | None = None) -> int:
    """The sum of `rate`."""
    return sum(rate(usages, cap_micro))


def runs_out_at(
    *, hold_micro: int, spent_micro: int, started_at: datetime, gpu_count: int, price_micro_per_gpu_hour: int
) -> datetime | None:
    """The last instant up to which a running placement's charge, added to what earlier ones spent, stays within the hold.

    None when that is more than ten years off, or never because it is free.
    """
    left_micro = max(0, hold_micro - spent_micro)
    per_hour_micro = gpu_count * price_micro_per_gpu_hour
    if per_hour_micro * _FARTHEST_MS <= left_micro * MILLISECONDS_PER_HOUR:
        return None
    return started_at + timedelta(milliseconds=left_micro * MILLISECONDS_PER_HOUR // per_hour_micro)
