"""What is known of an hour when it was told more than once: every telling is kept, the newest counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from uuid import UUID

from gridbroker.core.ids import derive
from gridbroker.core.units import hour_floor
from gridbroker.grid.signal import Averaging, Quality, Scope, Signal, SignalKind


@dataclass(frozen=True, slots=True)
class Key:
    """What a signal speaks of, and by whom. The same key again with another value is a revision."""

    zone: str
    kind: SignalKind
    at: datetime
    source: str
    averaging: Averaging
    scope: Scope


@dataclass(frozen=True, slots=True)
class Revision:
    """One telling of a signal; the first has number 0."""

    signal: Signal
    number: int

    @property
    def id(self) -> UUID:
        signal = self.signal
        return derive(
            "grid_signal",
            signal.zone,
            signal.kind,
            signal.at.isoformat(),
            signal.averaging,
            signal.scope,
            self.number,
            signal.source,
        )


def key(signal: Signal) -> Key:
    return Key(signal.zone, signal.kind, signal.at, signal.source, signal.averaging, signal.scope)


def news(signals: Iterable[Signal], known: Mapping[Key, Revision]) -> list[Revision]:
    """Those of `signals` that say something other than the newest revision of their key, as its next revision.

    Of several signals with one key the last counts. Values must be finite and begin on an hour.
    """
    latest = {key(signal): signal for signal in signals}
    found: list[Revision] = []
    for name, signal in latest.items():
        assert isfinite(signal.value), signal
        assert signal.at.tzinfo is not None and signal.at == hour_floor(signal.at), signal
        before = known.get(name)
        if before is None:
            found.append(Revision(signal, 0))
        elif _content(before.signal) != _content(signal):
            found.append(Revision(signal, before.number + 1))
    return found


def by_hour(signals: Sequence[Signal]) -> dict[tuple[str, datetime], Signal]:
    """One signal per zone and hour: of signals of one kind, oldest knowledge first, the newest."""
    return {(signal.zone, signal.at): signal for signal in signals}


def origin(source: str) -> str:
    """Who told a signal, without whom they had it from: `replay:trace.csv|entsoe` -> `replay:trace.csv`."""
    return source.partition("|")[0]


def _content(signal: Signal) -> tuple[float, Quality]:
    return signal.value, signal.quality
