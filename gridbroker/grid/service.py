"""Use cases of grid: recording what sources tell, and answering from what is known."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, Tx
from gridbroker.core.units import hour_floor
from gridbroker.grid import repository
from gridbroker.grid.intensity import FILL_H, SettledIntensity, settle
from gridbroker.grid.knowledge import by_hour, news
from gridbroker.grid.outlook import HISTORY_H, HOUR, outlook
from gridbroker.grid.signal import Outlook, Signal, SignalKind
from gridbroker.grid.sources.base import Source
from gridbroker.grid.zone import ZONES

HORIZON_H = 48
OVERLAP = timedelta(hours=2)
"""Asked for again on each refresh: hours that a source may still complete or correct."""
MAX_CATCH_UP = timedelta(days=31)
"""How far back a refresh reaches after a long pause."""


async def refresh_from(db: Database, clock: Clock, source: Source, *, history_h: int = 72) -> int:
    """Fetch from the newest hour known of `source` (the last `history_h` hours at first) up to now, then record. Rows added."""
    now = clock.now()
    async with db.as_system() as tx:
        newest = await repository.newest_hour(tx, source.name, now)
    since = max(newest - OVERLAP, now - MAX_CATCH_UP) if newest else now - history_h * HOUR
    signals = await source.fetch(hour_floor(since), now)
    async with db.as_system() as tx:
        return await refresh(tx, signals, now)


async def refresh(tx: Tx, signals: Sequence[Signal], now: datetime) -> int:
    """Record those signals that tell something new; how many. The same again adds nothing, another value adds a revision."""
    if not signals:
        return 0
    hours = [signal.at for signal in signals]
    known = await repository.newest_revisions(tx, {signal.source for signal in signals}, min(hours), max(hours))
    return await repository.add(tx, news(signals, known), now)


async def outlooks(tx: Tx, now: datetime, *, horizon_h: int = HORIZON_H, snapshot: str | None = None) -> dict[str, Outlook]:
    """Every zone of which something is known within the last day, by key, as it was known at `now` (and in `snapshot`)."""
    from_hour = hour_floor(now)
    start, end = from_hour - (HISTORY_H - 1) * HOUR, from_hour + HOUR
    content = await repository.fingerprint(tx, start, end, snapshot)
    found = _recall(from_hour, horizon_h, content)
    if found is None:
        signals = await repository.signals(tx, start, end, kinds=list(SignalKind), snapshot=snapshot)
        found = _outlooks(signals, from_hour, horizon_h)
        # Rows are only ever added: the same content before and after is what was read between.
        if content == await repository.fingerprint(tx, start, end, snapshot):
            _recent_outlooks.append(((from_hour, horizon_h, content), found))
    return dict(found)


def _recall(from_hour: datetime, horizon_h: int, content: tuple[int, int]) -> dict[str, Outlook] | None:
    wanted = (from_hour, horizon_h, content)
    return next((known for key, known in tuple(_recent_outlooks) if key == wanted), None)


_recent_outlooks: deque[tuple[tuple[datetime, int, tuple[int, int]], dict[str, Outlook]]] = deque(maxlen=8)
"""Outlooks by the content that they were built from. The same content gives the same outlooks, so none of these is ever stale;
they spare the hot path of routing what changes once an hour."""


def _outlooks(signals: Sequence[Signal], from_hour: datetime, horizon_h: int) -> dict[str, Outlook]:
    histories: defaultdict[str, defaultdict[SignalKind, list[Signal]]] = defaultdict(lambda: defaultdict(list))
    for signal in signals:
        histories[signal.zone][signal.kind].append(signal)
    built = (outlook(zone, from_hour, histories[zone], horizon_h) for zone in ZONES if zone in histories)
    return {one.zone: one for one in built if one is not None}


async def latest(tx: Tx, now: datetime) -> dict[tuple[str, SignalKind], Signal]:
    """The newest signal of each zone and kind, of hours within the last day."""
    from_hour = hour_floor(now)
    found = await repository.signals(tx, from_hour - FILL_H * HOUR, from_hour + HOUR, kinds=list(SignalKind))
    return {(signal.zone, signal.kind): signal for signal in found}


async def settled_intensities(
    tx: Tx, zones: Iterable[str], start: datetime, end: datetime
) -> dict[tuple[str, datetime], SettledIntensity]:
    """Intensity of each zone for each hour that begins in [hour of start, end), by zone and hour: the newest revision.

    A missing hour takes the nearest earlier one within a day and is at best `estimated`; failing that it is absent.
    """
    wanted = sorted(set(zones))
    earliest = hour_floor(start) - FILL_H * HOUR
    found = await repository.signals(tx, earliest, end, kinds=[SignalKind.CARBON_INTENSITY], zones=wanted)
    return settle(by_hour(found), wanted, start, end)


async def series(tx: Tx, zone: str, kind: SignalKind, start: datetime, end: datetime) -> list[Signal]:
    """The newest revision of each hour that begins in [start, end), oldest first. Hours that nobody told of are absent."""
    found = await repository.signals(tx, start, end, kinds=[kind], zones=[zone])
    return list(by_hour(found).values())
