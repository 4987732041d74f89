"""Grid weather as a source: each zone's typical day, stretched and shrunk by a random walk of its own."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import exp
from random import Random
from typing import Literal

from gridbroker.core.units import hour_floor
from gridbroker.grid.signal import Quality, Signal, SignalKind
from gridbroker.grid.sources.base import hours_between
from gridbroker.grid.typical import value

HISTORY_H = 80
PULL, SHAKE = 0.9, 0.18
"""How much of an hour's deviation stays in the next one, and the spread of what is new in it."""


class Weather:
    """Satisfies `grid.sources.base.Source`. Nothing is told before its hour, so forecasts are wrong as they are in life."""

    name = "replay:weather"
    kind: Literal["replayed"] = "replayed"

    def __init__(self, random: Random, zones: Sequence[str], start: datetime, hours: int) -> None:
        self._first = hour_floor(start) - timedelta(hours=HISTORY_H)
        self._levels = {zone: _walk(random, HISTORY_H + hours) for zone in zones}

    async def fetch(self, since: datetime, until: datetime) -> list[Signal]:
        return [
            Signal(zone=zone, kind=kind, at=hour, value=self.value(zone, kind, hour), source=self.name, quality=Quality.MEASURED)
            for hour in hours_between(since, until)
            for zone in self._levels
            for kind in SignalKind
        ]

    def value(self, zone: str, kind: SignalKind, at: datetime) -> float:
        level = self._levels[zone][(hour_floor(at) - self._first) // timedelta(hours=1)]
        if kind is SignalKind.RENEWABLE_SHARE:
            return min(1.0, value(zone, kind, at) / level)
        return value(zone, kind, at) * level

    def intensity(self, zone: str, at: datetime) -> float:
        return self.value(zone, SignalKind.CARBON_INTENSITY, at)


def _walk(random: Random, hours: int) -> list[float]:
    level, series = 0.0, list[float]()
    for _ in range(hours):
        level = PULL * level + random.gauss(0, SHAKE)
        series.append(exp(level))
    return series
