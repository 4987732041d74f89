"""Energy of one GPU over any span of time, from the readings of its counter.

All readings of a GPU make one rising curve of cumulative energy. The energy of a span is the difference of the curve's values at
its two ends, each rounded once, so the parts of a span always sum to the whole, to the millijoule:

- within one boot of the agent the curve follows the counter, linear between two readings;
- between two boots, where the counter starts anew, it rises by the mean power of the two readings times the time between them;
- before the first and after the last reading it goes on at the power of that reading, for a bounded time, then stays flat.

What does not rest on a counter alone is flagged: `estimated` where power was integrated, `modelled` where a reading was modelled or
where no reading reaches at all. Power times time is in mW and microseconds, all integers.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from gridbroker.core.units import hour_floor
from gridbroker.metering.sample import Reading, weaker
from gridbroker.node_agent.protocol import EnergyKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR = timedelta(hours=1)
_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Knot:
    """A point of the curve; between two of them it is straight."""

    at_us: int
    value_mj: int
    kind: EnergyKind
    """Of the stretch that ends here."""


@dataclass(frozen=True, slots=True)
class EnergyCurve:
    """Cumulative energy of one GPU. Flat outside its knots."""

    knots: tuple[Knot, ...]

    def energy_mj(self, start: datetime, end: datetime) -> int:
        """Energy between two times, mJ. Spans that touch sum to the span that they cover."""
        return self._value(_microseconds(end)) - self._value(_microseconds(start))

    def kind(self, start: datetime, end: datetime) -> EnergyKind:
        """The weakest kind of the stretches that [start, end) touches; `modelled` when some of it lies outside the curve."""
        start_us, end_us = _microseconds(start), _microseconds(end)
        if not self.knots or start_us < self.knots[0].at_us or end_us > self.knots[-1].at_us:
            return EnergyKind.MODELLED
        first = bisect_right(self.knots, start_us, key=_at_us)
        last = bisect_left(self.knots, end_us, key=_at_us)
        kind = EnergyKind.MEASURED
        for knot in self.knots[first : last + 1]:
            kind = weaker(kind, knot.kind)
        return kind

    def _value(self, at_us: int) -> int:
        """The curve at a time, rounded down: unlike rounding half to even that is the same wherever the curve begins to count."""
        if not self.knots:
            return 0
        after = bisect_right(self.knots, at_us, key=_at_us)
        if after == 0:
            return self.knots[0].value_mj
        before = self.knots[after - 1]
        if after == len(self.knots):
            return before.value_mj
        next_ = self.knots[after]
        rise = (next_.value_mj - before.value_mj) * (at_us - before.at_us)
        return before.value_mj + rise // (next_.at_us - before.at_us)


@dataclass(frozen=True, slots=True)
class HourEnergy:
    """Energy of one GPU in the part of one clock hour that a span covers."""

    from_at: datetime
    to_at: datetime
    energy_mj: int
    kind: EnergyKind


def curve_of(readings: Iterable[Reading], *, max_extrapolation_s: float) -> EnergyCurve:
    """The curve of one GPU's readings, which may come in any order and more than once.

    Args:
        max_extrapolation_s: how long the curve goes on before the first and after the last reading.

    A counter that falls within a boot is held at its highest value so far. Should two boots overlap (a node whose clock was set
    back), the later one counts from where the earlier one ended.
    """
    ordered = _in_order(readings)
    if not ordered:
        return EnergyCurve(())
    first = ordered[0]
    knots = [Knot(_microseconds(first.at), first.energy_mj, first.kind)]
    highest = first.energy_mj
    for before, reading in pairwise(ordered):
        if reading.boot_id == before.boot_id:
            rise, kind = max(0, reading.energy_mj - highest), weaker(before.kind, reading.kind)
            highest = max(highest, reading.energy_mj)
        else:
            rise, kind = _gap_mj(before, reading), _gap_kind(before, reading)
            highest = reading.energy_mj
        knots.append(Knot(_microseconds(reading.at), knots[-1].value_mj + rise, kind))
    reach_us = round(max_extrapolation_s * _US_PER_S)
    return EnergyCurve(tuple(_extended(knots, first, ordered[-1], reach_us) if reach_us > 0 else knots))


def by_hour(curve: EnergyCurve, start: datetime, end: datetime) -> list[HourEnergy]:
    """The energy of [start, end), cut at clock hours; the parts sum to `curve.energy_mj(start, end)`."""
    return [
        HourEnergy(from_at, to_at, curve.energy_mj(from_at, to_at), curve.kind(from_at, to_at))
        for from_at, to_at in pairwise(hour_cuts(start, end))
    ]


def hour_cuts(start: datetime, end: datetime) -> list[datetime]:
    """Start, every full hour strictly between, and end; nothing for an empty span."""
    if end <= start:
        return []
    cuts = [start]
    hour = hour_floor(start) + _HOUR
    while hour < end:
        cuts.append(hour)
        hour += _HOUR
    return [*cuts, end]


def _in_order(readings: Iterable[Reading]) -> list[Reading]:
    """Boots one after the other in the order in which they began; of several readings of one instant the last, the highest."""
    boots: dict[str, dict[tuple[datetime, int], Reading]] = {}
    for reading in readings:
        boots.setdefault(reading.boot_id, {})[reading.at, reading.seq] = reading
    ordered: list[Reading] = []
    for boot_id in sorted(boots, key=lambda boot_id: (min(boots[boot_id]), boot_id)):
        after = ordered[-1].at if ordered else None
        kept = [reading for (at, _), reading in sorted(boots[boot_id].items()) if after is None or at > after]
        ordered.extend({reading.at: reading for reading in kept}.values())
    return ordered


def _extended(knots: Sequence[Knot], first: Reading, last: Reading, reach_us: int) -> list[Knot]:
    """The same curve, going on at the power of its outermost readings."""
    begin, end = knots[0], knots[-1]
    return [
        Knot(begin.at_us - reach_us, begin.value_mj - _power_energy_mj(first.power_w, reach_us), EnergyKind.MODELLED),
        replace(begin, kind=_integrated(first.kind)),
        *knots[1:],
        Knot(end.at_us + reach_us, end.value_mj + _power_energy_mj(last.power_w, reach_us), _integrated(last.kind)),
    ]


def _gap_mj(before: Reading, after: Reading) -> int:
    span_us = _microseconds(after.at) - _microseconds(before.at)
    return _power_energy_mj((before.power_w + after.power_w) / 2, span_us)


def _gap_kind(before: Reading, after: Reading) -> EnergyKind:
    both_modelled = before.kind is EnergyKind.MODELLED and after.kind is EnergyKind.MODELLED
    return EnergyKind.MODELLED if both_modelled else EnergyKind.ESTIMATED


def _integrated(kind: EnergyKind) -> EnergyKind:
    return weaker(kind, EnergyKind.ESTIMATED)


def _power_energy_mj(power_w: float, span_us: int) -> int:
    """1 mW over 1 s is 1 mJ."""
    return round(power_w * 1000) * span_us // _US_PER_S


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _at_us(knot: Knot) -> int:
    return knot.at_us
