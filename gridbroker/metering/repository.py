"""Queries of metering."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from gridbroker.core.db import Tx
from gridbroker.core.ids import derive
from gridbroker.metering.body import from_body, to_body
from gridbroker.metering.models import meter_events, statements
from gridbroker.metering.sample import Reading
from gridbroker.metering.statement import Statement
from gridbroker.node_agent.protocol import EnergyKind

_ADD_SAMPLES = sa.text("""
    insert into samples (node_id, org_id, boot_id, gpu_index, seq, at, energy_mj, power_w, utilisation, kind)
    select cast(:node_id as uuid), cast(:org_id as uuid), new.* from unnest(
        cast(:boot_ids as text[]), cast(:gpu_indices as int[]), cast(:seqs as bigint[]), cast(:ats as timestamptz[]),
        cast(:energies as bigint[]), cast(:powers as float8[]), cast(:utilisations as float8[]), cast(:kinds as text[])) as new
    on conflict do nothing
""")

_READINGS = sa.text("""
    select found.* from unnest(cast(:gpu_indices as int[])) as gpu(index) cross join lateral (
        (select boot_id, gpu_index, seq, at, energy_mj, power_w, utilisation, kind from samples
            where node_id = :node_id and gpu_index = gpu.index and at <= :start order by at desc, seq desc limit 1)
        union all
        (select boot_id, gpu_index, seq, at, energy_mj, power_w, utilisation, kind from (
            select *, lag(stretch) over in_time as before, lead(stretch) over in_time as after
            from (select *, (boot_id, kind, date_trunc('hour', at)) as stretch from samples
                where node_id = :node_id and gpu_index = gpu.index and at > :start and at < :end) as inside
            window in_time as (order by at, boot_id, seq)) as marked
            where stretch is distinct from before or stretch is distinct from after)
        union all
        (select boot_id, gpu_index, seq, at, energy_mj, power_w, utilisation, kind from samples
            where node_id = :node_id and gpu_index = gpu.index and at >= :end order by at, seq limit 1)
    ) as found
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterEvent:
    """Energy of one GPU that a subject used within one clock hour."""

    subject_id: UUID
    org_id: UUID
    provider_org_id: UUID
    node_id: UUID
    gpu_index: int
    zone: str
    from_at: datetime
    to_at: datetime
    energy_mj: int
    energy_kind: EnergyKind


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSummary:
    """A statement in a list."""

    statement_id: UUID
    workload_id: UUID
    outcome: str
    from_at: datetime
    to_at: datetime
    energy_mj: int
    emissions_mg: int
    cost_micro: int
    closed_at: datetime


async def add_samples(tx: Tx, org_id: UUID, node_id: UUID, readings: Sequence[Reading]) -> int:
    """One statement for the whole batch; returns how many were new."""
    result = await tx.execute(
        _ADD_SAMPLES,
        {
            "node_id": node_id,
            "org_id": org_id,
            "boot_ids": [reading.boot_id for reading in readings],
            "gpu_indices": [reading.gpu_index for reading in readings],
            "seqs": [reading.seq for reading in readings],
            "ats": [reading.at for reading in readings],
            "energies": [reading.energy_mj for reading in readings],
            "powers": [float(reading.power_w) for reading in readings],
            "utilisations": [float(reading.utilisation) for reading in readings],
            "kinds": [str(reading.kind) for reading in readings],
        },
    )
    return result.rowcount


async def find_readings(tx: Tx, node_id: UUID, gpu_indices: Sequence[int], start: datetime, end: datetime) -> list[Reading]:
    """The readings that decide the energy of [start, end) by hour.

    Per GPU these are the neighbours of both ends, and inside the first and last of each stretch of one boot, kind and clock hour.
    Those between lie on the counter's way and change no value at a cut.
    """
    rows = await tx.execute(_READINGS, {"node_id": node_id, "gpu_indices": list(gpu_indices), "start": start, "end": end})
    return [_reading(row) for row in rows]


async def put_events(tx: Tx, subject_id: UUID, events: Sequence[MeterEvent], end: datetime) -> None:
    """Make these the events of a subject up to `end`. Closed ones stay as they are."""
    open_ = sa.and_(meter_events.c.subject_id == subject_id, meter_events.c.closed.is_(False))
    await tx.execute(meter_events.delete().where(open_, meter_events.c.from_at >= end))
    if not events:
        return
    new = insert(meter_events).values([_event_row(event) for event in events])
    changed = {name: new.excluded[name] for name in ("to_at", "energy_mj", "energy_kind")}
    keys = ["subject_id", "gpu_index", "from_at"]
    await tx.execute(new.on_conflict_do_update(index_elements=keys, set_=changed, where=meter_events.c.closed.is_(False)))


async def energy_of(tx: Tx, subject_id: UUID) -> int:
    total = sa.func.coalesce(sa.func.sum(meter_events.c.energy_mj), 0)
    return int(await tx.scalar(sa.select(total).where(meter_events.c.subject_id == subject_id)) or 0)


async def events_of(tx: Tx, subject_ids: Iterable[UUID]) -> list[MeterEvent]:
    query = sa.select(meter_events).where(meter_events.c.subject_id.in_(list(subject_ids)))
    return [_event(row) for row in await tx.execute(query.order_by(meter_events.c.from_at, meter_events.c.gpu_index))]


async def events_on_gpu(tx: Tx, node_id: UUID, gpu_index: int, start: datetime, end: datetime) -> list[MeterEvent]:
    """Events that lie, also partly, within [start, end)."""
    query = sa.select(meter_events).where(
        meter_events.c.node_id == node_id,
        meter_events.c.gpu_index == gpu_index,
        meter_events.c.from_at < end,
        meter_events.c.to_at > start,
    )
    return [_event(row) for row in await tx.execute(query.order_by(meter_events.c.from_at))]


async def close_events(tx: Tx, subject_ids: Iterable[UUID]) -> None:
    await tx.execute(meter_events.update().where(meter_events.c.subject_id.in_(list(subject_ids))).values(closed=True))


async def add_statement(tx: Tx, statement: Statement, closed_at: datetime) -> bool:
    """False when the workload has its statement already."""
    result = await tx.execute(
        insert(statements)
        .values(
            id=statement.statement_id,
            org_id=statement.org_id,
            workload_id=statement.workload_id,
            body=to_body(statement),
            energy_mj=statement.energy_mj,
            emissions_mg=statement.emissions_mg,
            cost_micro=statement.cost_micro,
            closed_at=closed_at,
        )
        .on_conflict_do_nothing(index_elements=["workload_id"])
    )
    return result.rowcount == 1


async def find_statement(tx: Tx, workload_id: UUID) -> Statement | None:
    body = await tx.scalar(sa.select(statements.c.body).where(statements.c.workload_id == workload_id))
    return None if body is None else from_body(body)


async def list_statements(tx: Tx, org_id: UUID, before: UUID | None, limit: int) -> list[StatementSummary]:
    """Newest workload first."""
    query = sa.select(statements).where(statements.c.org_id == org_id).order_by(statements.c.workload_id.desc()).limit(limit)
    if before is not None:
        query = query.where(statements.c.workload_id < before)
    return [_head(row) for row in await tx.execute(query)]


def _reading(row: sa.Row[Any]) -> Reading:
    return Reading(
        boot_id=row.boot_id,
        gpu_index=row.gpu_index,
        seq=row.seq,
        at=row.at,
        energy_mj=row.energy_mj,
        power_w=row.power_w,
        utilisation=row.utilisation,
        kind=EnergyKind(row.kind),
    )


def _event_row(event: MeterEvent) -> dict[str, Any]:
    return {
        "id": derive("meter_event", event.subject_id, event.gpu_index, event.from_at.isoformat()),
        "subject_id": event.subject_id,
        "org_id": event.org_id,
        "provider_org_id": event.provider_org_id,
        "node_id": event.node_id,
        "gpu_index": event.gpu_index,
        "zone": event.zone,
        "from_at": event.from_at,
        "to_at": event.to_at,
        "energy_mj": event.energy_mj,
        "energy_kind": str(event.energy_kind),
    }


def _event(row: sa.Row[Any]) -> MeterEvent:
    return MeterEvent(
        subject_id=row.subject_id,
        org_id=row.org_id,
        provider_org_id=row.provider_org_id,
        node_id=row.node_id,
        gpu_index=row.gpu_index,
        zone=row.zone,
        from_at=row.from_at,
        to_at=row.to_at,
        energy_mj=row.energy_mj,
        energy_kind=EnergyKind(row.energy_kind),
    )


def _head(row: sa.Row[Any]) -> StatementSummary:
    statement = from_body(row.body)
    return StatementSummary(
        statement_id=row.id,
        workload_id=row.workload_id,
        outcome=statement.outcome,
        from_at=statement.from_at,
        to_at=statement.to_at,
        energy_mj=row.energy_mj,
        emissions_mg=row.emissions_mg,
        cost_micro=row.cost_micro,
        closed_at=row.closed_at,
    )
