"""Queries of grid signals: what is new, and what was known."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from gridbroker.core.db import Tx
from gridbroker.core.versioned import visible
from gridbroker.grid.knowledge import Key, Revision, key
from gridbroker.grid.models import grid_signals
from gridbroker.grid.signal import Averaging, Quality, Scope, Signal, SignalKind

_SIGNAL = [grid_signals.c[name] for name in ("zone", "kind", "at", "value", "source", "quality", "averaging", "scope")]
_OLDEST_KNOWLEDGE_FIRST = [grid_signals.c[name] for name in ("at", "recorded_at", "xid", "source", "revision")]


async def add(tx: Tx, revisions: Sequence[Revision], now: datetime) -> int:
    """Insert those that are not there yet; how many were."""
    if not revisions:
        return 0
    rows = [{"id": one.id, "revision": one.number, "recorded_at": now, **_values(one.signal)} for one in revisions]
    added = await tx.execute(insert(grid_signals).on_conflict_do_nothing().returning(grid_signals.c.id), rows)
    return len(added.all())


async def newest_revisions(tx: Tx, sources: Collection[str], first: datetime, last: datetime) -> dict[Key, Revision]:
    """The newest revision of each key of these sources with an hour in [first, last]."""
    query = (
        sa.select(*_SIGNAL, grid_signals.c.revision)
        .where(grid_signals.c.at.between(first, last), grid_signals.c.source.in_(sources))
        .order_by(grid_signals.c.revision)
    )
    found = [Revision(_signal(row), row.revision) for row in await tx.execute(query)]
    return {key(one.signal): one for one in found}


async def newest_hour(tx: Tx, source: str, now: datetime) -> datetime | None:
    """The newest hour not after `now` of which a source (the part of a signal's source before `|`) has told."""
    told_by = sa.func.split_part(grid_signals.c.source, "|", 1)
    query = sa.select(sa.func.max(grid_signals.c.at)).where(told_by == source, grid_signals.c.at <= now)
    return await tx.scalar(query)


async def signals(
    tx: Tx,
    start: datetime,
    end: datetime,
    *,
    kinds: Collection[SignalKind],
    zones: Collection[str] | None = None,
    snapshot: str | None = None,
) -> list[Signal]:
    """Average signals of hours that begin in [start, end), all revisions, oldest hour and oldest knowledge first.

    With `snapshot`, only rows committed when it was taken. Intensities are life-cycle ones: nothing else is ranked or settled.
    """
    query = (
        sa.select(*_SIGNAL)
        .where(
            *_told(start, end, snapshot),
            grid_signals.c.kind.in_(kinds),
            grid_signals.c.averaging == Averaging.AVERAGE,
            grid_signals.c.scope == Scope.LIFECYCLE,
        )
        .order_by(*_OLDEST_KNOWLEDGE_FIRST)
    )
    if zones is not None:
        query = query.where(grid_signals.c.zone.in_(zones))
    return [_signal(row) for row in await tx.execute(query)]


async def fingerprint(tx: Tx, start: datetime, end: datetime, snapshot: str | None = None) -> tuple[int, int]:
    """Number and hash of everything told of hours in [start, end): equal where the rows are, whatever database they lie in."""
    row_hash = sa.func.hash_record_extended(sa.literal_column(grid_signals.name), 0)
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(row_hash), 0)).where(*_told(start, end, snapshot))
    count, total = (await tx.execute(query.select_from(grid_signals))).one()
    return count, int(total)


def _told(start: datetime, end: datetime, snapshot: str | None) -> list[sa.ColumnElement[bool]]:
    during = [grid_signals.c.at >= start, grid_signals.c.at < end]
    return during if snapshot is None else [*during, visible(grid_signals.c.xid, snapshot)]


def _values(signal: Signal) -> dict[str, Any]:
    return {column.name: getattr(signal, column.name) for column in _SIGNAL}


def _signal(row: sa.Row[Any]) -> Signal:
    return Signal(
        zone=row.zone,
        kind=SignalKind(row.kind),
        at=row.at,
        value=row.value,
        source=row.source,
        quality=Quality(row.quality),
        averaging=Averaging(row.averaging),
        scope=Scope(row.scope),
    )
