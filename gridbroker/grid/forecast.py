"""Hour-by-hour expectation of a signal from its own recent past: the seasonal-naive rule.

With t the hour of the newest observation, the value h hours later is expected as

    x(t + h - 24 k) + 0.9^h (x(t) - x(t - 24)),    k = ceil(h / 24)

yesterday's pattern, shifted by how far now departs from yesterday, a departure that fades (half of it within seven hours).
Adding a constant to the past adds it to the forecast, and a series that repeats daily is forecast exactly. It needs 25 hours;
with fewer the newest value is carried on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

PERIOD_H = 24
FADING = 0.9
MAX_LAG_H = 24
"""An observation older than this says nothing about now."""

DEFAULT_ERROR_RATIO = 0.15
"""Where the past is too short to measure the rule's error."""
LEAST_ERROR_RATIO, MOST_ERROR_RATIO = 0.01, 1.0
MIN_COMPARISONS = 24


class Method(StrEnum):
    SEASONAL_NAIVE = "seasonal-naive"
    PERSISTENCE = "persistence"
    TYPICAL_DAY = "typical-day"
    """The seasonal-naive rule on a model that repeats daily, hence exact about the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    values: tuple[float, ...]
    """Index 0 is the current hour, observed unless `lag_h` > 0."""
    lag_h: int
    """Hours from the newest observation to the current hour."""
    method: Method
    estimated: bool
    """The current hour, or an hour that the pattern rests on, was missing and filled."""


def forecast(history: Sequence[float | None], horizon_h: int, *, floor: float | None = None) -> Forecast | None:
    """Expect `horizon_h` hours after the current one, the last of `history`; None stands for a missing hour.

    A missing hour takes the value of the same hour a day before (or, within the first day, of the hour before). Values below
    `floor` are raised to it. Returns None when nothing was observed within the last 24 hours.
    """
    observed = _from_first_to_last(history)
    lag_h = _lag_h(history)
    if lag_h is None or lag_h > MAX_LAG_H:
        return None
    series = _filled(observed)
    expected = [_expect(series, len(series) - 1, lag_h + hour) for hour in range(horizon_h + 1)]
    return Forecast(
        values=tuple(expected) if floor is None else tuple(max(floor, value) for value in expected),
        lag_h=lag_h,
        method=Method.SEASONAL_NAIVE if len(series) > PERIOD_H else Method.PERSISTENCE,
        estimated=lag_h > 0 or None in observed[-(PERIOD_H + 1) :],
    )


def error_ratio(history: Sequence[float | None]) -> float:
    """How far the rule misses, measured on this very past: each observed hour, forecast from each of the 24 hours before it.

    The sum of the absolute errors over the sum of the absolute values, between 0.01 and 1; 0.15 where fewer than 24 comparisons
    can be made.
    """
    observed = _from_first_to_last(history)
    series = _filled(observed)
    first_origin = PERIOD_H if len(series) > PERIOD_H else 0
    compared, error, size = 0, 0.0, 0.0
    for origin in range(first_origin, len(series) - 1):
        for index in range(origin + 1, min(origin + PERIOD_H + 1, len(series))):
            actual = observed[index]
            if actual is not None:
                compared += 1
                error += abs(_expect(series, origin, index - origin) - actual)
                size += abs(actual)
    if compared < MIN_COMPARISONS or size == 0:
        return DEFAULT_ERROR_RATIO
    return min(MOST_ERROR_RATIO, max(LEAST_ERROR_RATIO, error / size))


def _lag_h(history: Sequence[float | None]) -> int | None:
    return next((lag for lag in range(len(history)) if history[-1 - lag] is not None), None)


def _from_first_to_last(history: Sequence[float | None]) -> Sequence[float | None]:
    """Without the gaps before the first observation and after the last."""
    present = [index for index, value in enumerate(history) if value is not None]
    return history[present[0] : present[-1] + 1] if present else ()


def _filled(observed: Sequence[float | None]) -> list[float]:
    series: list[float] = []
    for index, value in enumerate(observed):
        series.append(value if value is not None else series[index - PERIOD_H if index >= PERIOD_H else index - 1])
    return series


def _expect(series: Sequence[float], origin: int, ahead_h: int) -> float:
    """The rule of this module at `origin`, knowing nothing later."""
    if ahead_h == 0 or origin < PERIOD_H:
        return series[origin]
    pattern = series[origin - PERIOD_H + 1 + (ahead_h - 1) % PERIOD_H]
    return pattern + FADING**ahead_h * (series[origin] - series[origin - PERIOD_H])
