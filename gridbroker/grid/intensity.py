"""Settled carbon intensity: the one value per zone and hour that emissions are reckoned with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gridbroker.core.units import hour_floor
from gridbroker.grid.signal import Quality, Signal

FILL_H = 24
"""How far back a missing hour may borrow from."""
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SettledIntensity:
    mg_per_kwh: int
    source: str
    quality: Quality


def settle(
    signals: Mapping[tuple[str, datetime], Signal], zones: Iterable[str], start: datetime, end: datetime
) -> dict[tuple[str, datetime], SettledIntensity]:
    """Intensity of each zone and hour that begins in [hour of start, end), keyed by both, rounded to the nearest mg/kWh.

    A missing hour takes the nearest earlier one within 24 hours and is at best `estimated`; without one it stays absent.
    """
    first, settled = hour_floor(start), dict[tuple[str, datetime], SettledIntensity]()
    for zone in zones:
        newest: SettledIntensity | None = None
        newest_at, hour = first, first - FILL_H * HOUR
        while hour < end:
            if (signal := signals.get((zone, hour))) is not None:
                newest, newest_at = SettledIntensity(round(signal.value * 1000), signal.source, signal.quality), hour
            if hour >= first and newest is not None and hour - newest_at <= FILL_H * HOUR:
                settled[zone, hour] = newest if newest_at == hour else _borrowed(newest)
            hour += HOUR
    return settled


def _borrowed(intensity: SettledIntensity) -> SettledIntensity:
    """Borrowing never makes a claim stronger: what was modelled or forecast stays so."""
    return replace(intensity, quality=Quality.ESTIMATED) if intensity.quality is Quality.MEASURED else intensity
