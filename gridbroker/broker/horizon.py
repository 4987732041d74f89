"""What a zone's outlook says about a stretch of time: means over a window, and the worst hour in it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor

from gridbroker.grid.signal import Outlook

HOURS_PER_DAY = 24
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A zone from `start` on for `hours`, as its outlook expects it."""

    start: datetime
    hours: float
    intensity_g_per_kwh: float
    """Mean."""
    worst_intensity_g_per_kwh: float
    price_eur_per_mwh: float | None
    """Mean wholesale price; None when the outlook has none."""
    beyond_forecast: bool
    """The window ends after the last forecast hour."""


def usable(outlook: Outlook | None, now: datetime) -> bool:
    """Whether the outlook says anything about `now`."""
    return outlook is not None and 0 <= _offset(outlook, now) < len(outlook.intensity_g_per_kwh)


def forecast_hours(outlook: Outlook, now: datetime) -> float:
    """How far from `now` the outlook reaches."""
    return max(0.0, len(outlook.intensity_g_per_kwh) - _offset(outlook, now))


def window(outlook: Outlook, start: datetime, hours: float) -> Window:
    """The outlook over [start, start + hours). After its last hour it is continued by the mean (and the worst) of its last day."""
    offset = _offset(outlook, start)
    intensities = outlook.intensity_g_per_kwh
    return Window(
        start=start,
        hours=hours,
        intensity_g_per_kwh=_mean(intensities, offset, hours),
        worst_intensity_g_per_kwh=_worst(intensities, offset, hours),
        price_eur_per_mwh=_mean(outlook.price_eur_per_mwh, offset, hours) if outlook.price_eur_per_mwh else None,
        beyond_forecast=offset + hours > len(intensities),
    )


def _offset(outlook: Outlook, at: datetime) -> float:
    return (at - outlook.from_hour) / _HOUR


def _mean(series: tuple[float, ...], offset: float, hours: float) -> float:
    """Time-weighted mean of a series of hourly values; the value at `offset` when the stretch is empty."""
    last_day = series[-HOURS_PER_DAY:]
    tail = sum(last_day) / len(last_day)
    end = offset + hours
    if hours <= 0:
        return series[floor(offset)] if offset < len(series) else tail
    within = sum(
        series[hour] * (min(hour + 1, end) - max(hour, offset)) for hour in range(floor(offset), min(ceil(end), len(series)))
    )
    return (within + tail * max(0.0, end - max(offset, len(series)))) / hours


def _worst(series: tuple[float, ...], offset: float, hours: float) -> float:
    end = max(offset + hours, floor(offset) + 1)
    met = series[floor(offset) : ceil(end)]
    return max((*met, *series[-HOURS_PER_DAY:]) if end > len(series) else met)
