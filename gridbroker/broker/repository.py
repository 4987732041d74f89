"""Queries of broker: workloads and placements as facts, guarded writes, and what the API shows."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from gridbroker.broker.models import checkpoints, decisions, placements, workload_events, workload_logs, workloads
from gridbroker.broker.rows import CheckpointRow, DecisionRow, EventRow, LogRow, PlacementRow, WorkloadRow
from gridbroker.broker.workload import PlacementState, WorkloadSpec, WorkloadState
from gridbroker.core.claims import NOW
from gridbroker.core.db import Tx
from gridbroker.node_agent.protocol import CheckpointFile

# Statements of the hot paths are built once: building one takes as long as running it.
_ID = sa.bindparam("id", type_=sa.Uuid)
_ADD_WORKLOAD = workloads.insert().values(due_at=NOW)
_FIND_WORKLOAD = sa.select(workloads).where(workloads.c.id == _ID)
_FIND_OWN_WORKLOAD = _FIND_WORKLOAD.where(workloads.c.org_id == sa.bindparam("org_id"))
_IS_DUE = sa.select(sa.exists().where(workloads.c.id == _ID, workloads.c.due_at <= NOW))
_PLACEMENTS_OF = sa.select(placements).where(placements.c.workload_id == _ID).order_by(placements.c.number)
_ADD_DECISION = decisions.insert()
_ADD_EVENT = workload_events.insert()

# --- workloads ---------------------------------------------------------------------------------------------------------


async def add_workload(tx: Tx, workload: WorkloadRow) -> None:
    row = {
        "id": workload.workload_id,
        "org_id": workload.org_id,
        "name": workload.spec.name,
        "spec": msgspec.to_builtins(workload.spec),
        "state": workload.state,
        "submitted_at": workload.submitted_at,
        "hold_micro": workload.hold_micro,
    }
    await tx.execute(_ADD_WORKLOAD, row)


async def find_workload(tx: Tx, workload_id: UUID, org_id: UUID | None = None) -> WorkloadRow | None:
    query = _FIND_WORKLOAD if org_id is None else _FIND_OWN_WORKLOAD
    row = (await tx.execute(query, {"id": workload_id, "org_id": org_id})).first()
    return _workload(row) if row else None


async def is_due(tx: Tx, workload_id: UUID) -> bool:
    """Whether a workload wants to be looked at now, as far as the transaction sees."""
    return bool(await tx.scalar(_IS_DUE, {"id": workload_id}))


async def list_workloads(tx: Tx, org_id: UUID, before: UUID | None, limit: int, state: str | None = None) -> list[WorkloadRow]:
    query = sa.select(workloads).where(workloads.c.org_id == org_id).order_by(workloads.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(workloads.c.id < before)
    if state is not None:
        query = query.where(workloads.c.state == state)
    return [_workload(row) for row in await tx.execute(query)]


async def request_stop(tx: Tx, workload_id: UUID, org_id: UUID, why: str) -> bool:
    """Ask a workload to stop, unless it has ended or was asked before. The row becomes due."""
    result = await tx.execute(
        workloads.update()
        .where(
            workloads.c.id == workload_id,
            workloads.c.org_id == org_id,
            workloads.c.stop_requested.is_(None),
            workloads.c.state.not_in(
                [WorkloadState.SETTLING, WorkloadState.COMPLETED, WorkloadState.FAILED, WorkloadState.CANCELLED]
            ),
        )
        .values(stop_requested=why)
    )
    return result.rowcount == 1


async def wake_waiting(tx: Tx, limit: int, *, but: UUID | None = None) -> list[UUID]:
    """Make the longest waiting workloads due, except one: room has become free. Returns whom to hint.

    One that is claimed may be looking at the market as it was: it is marked, as by `claims.wake`, and looks again.
    """
    oldest = (
        sa.select(workloads.c.id)
        .where(workloads.c.state == WorkloadState.WAITING, workloads.c.id.is_distinct_from(but))
        .order_by(workloads.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    beyond_claim = workloads.c.claim_until + sa.text("interval '1 microsecond'")
    due_at = sa.case((workloads.c.claim_until > NOW, beyond_claim), else_=NOW)
    rows = await tx.execute(workloads.update().where(workloads.c.id.in_(oldest)).values(due_at=due_at).returning(workloads.c.id))
    return [row.id for row in rows]


async def count_by_state(tx: Tx) -> dict[str, int]:
    rows = await tx.execute(sa.select(workloads.c.state, sa.func.count()).group_by(workloads.c.state))
    return {row[0]: row[1] for row in rows}


# --- placements --------------------------------------------------------------------------------------------------------


async def add_placement(tx: Tx, placement: PlacementRow, *, ordered: bool) -> None:
    values = {name: getattr(placement, name) for name in _PLACEMENT_FIELDS}
    values |= {"id": placement.placement_id, "gpu_indices": list(placement.gpu_indices)}
    await tx.execute(placements.insert().values(**values, ordered_wall_at=NOW if ordered else None))


async def update_placement(tx: Tx, placement_id: UUID, **values: Any) -> None:
    await tx.execute(placements.update().where(placements.c.id == placement_id).values(**values))


async def find_placement(tx: Tx, placement_id: UUID, *, lock: bool = False) -> PlacementRow | None:
    query = sa.select(placements).where(placements.c.id == placement_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).first()
    return _placement(row) if row else None


async def placements_of(tx: Tx, workload_id: UUID) -> list[PlacementRow]:
    return [_placement(row) for row in await tx.execute(_PLACEMENTS_OF, {"id": workload_id})]


async def open_placements_on(tx: Tx, node_ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """(placement, workload) ids of what is not ended on these nodes."""
    query = sa.select(placements.c.id, placements.c.workload_id).where(
        placements.c.node_id.in_(node_ids), placements.c.state != PlacementState.ENDED
    )
    return [(row.id, row.workload_id) for row in await tx.execute(query)]


async def note_progress(tx: Tx, workload_id: UUID, step: int | None, total_steps: int | None) -> None:
    await tx.execute(
        workloads.update()
        .where(workloads.c.id == workload_id)
        .values(
            step=sa.func.coalesce(sa.literal(step, sa.BigInteger), workloads.c.step),
            total_steps=sa.func.coalesce(sa.literal(total_steps, sa.BigInteger), workloads.c.total_steps),
        )
    )


# --- decisions, events, logs, checkpoints ------------------------------------------------------------------------------


async def add_decision(tx: Tx, decision: DecisionRow) -> None:
    values = {name: getattr(decision, name) for name in DecisionRow.__dataclass_fields__ if name != "decision_id"}
    await tx.execute(_ADD_DECISION, {"id": decision.decision_id, **values})


async def decisions_of(tx: Tx, workload_id: UUID, before: UUID | None, limit: int) -> list[DecisionRow]:
    query = sa.select(decisions).where(decisions.c.workload_id == workload_id).order_by(decisions.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(decisions.c.id < before)
    return [_decision(row) for row in await tx.execute(query)]


async def find_decision(tx: Tx, decision_id: UUID) -> DecisionRow | None:
    row = (await tx.execute(sa.select(decisions).where(decisions.c.id == decision_id))).first()
    return _decision(row) if row else None


async def last_decision(tx: Tx, workload_id: UUID) -> DecisionRow | None:
    found = await decisions_of(tx, workload_id, None, 1)
    return found[0] if found else None


async def add_event(tx: Tx, event: EventRow, org_id: UUID) -> None:
    row = {"org_id": org_id, "workload_id": event.workload_id, "at": event.at, "kind": event.kind, "detail": event.detail}
    await tx.execute(_ADD_EVENT, {"id": event.event_id, **row})


async def events_of(tx: Tx, workload_id: UUID, before: UUID | None, limit: int) -> list[EventRow]:
    query = sa.select(workload_events).where(workload_events.c.workload_id == workload_id)
    if before is not None:
        query = query.where(workload_events.c.id < before)
    rows = await tx.execute(query.order_by(workload_events.c.id.desc()).limit(limit))
    return [EventRow(event_id=row.id, workload_id=row.workload_id, at=row.at, kind=row.kind, detail=row.detail) for row in rows]


async def add_logs(tx: Tx, placement: PlacementRow, lines: Sequence[LogRow]) -> int:
    """How many of the lines were new."""
    if not lines:
        return 0
    rows = [
        {
            "placement_id": placement.placement_id,
            "seq": line.seq,
            "org_id": placement.org_id,
            "workload_id": placement.workload_id,
            "number": placement.number,
            "at": line.at,
            "stream": line.stream,
            "text": line.text,
        }
        for line in lines
    ]
    result = await tx.execute(insert(workload_logs).values(rows).on_conflict_do_nothing().returning(workload_logs.c.seq))
    return len(result.all())


async def logs_of(tx: Tx, workload_id: UUID, after: tuple[int, int], limit: int) -> list[LogRow]:
    """Lines after (placement number, seq), in order."""
    query = (
        sa.select(workload_logs)
        .where(workload_logs.c.workload_id == workload_id, sa.tuple_(workload_logs.c.number, workload_logs.c.seq) > after)
        .order_by(workload_logs.c.number, workload_logs.c.seq)
        .limit(limit)
    )
    return [LogRow(number=row.number, seq=row.seq, at=row.at, stream=row.stream, text=row.text) for row in await tx.execute(query)]


async def add_checkpoint(tx: Tx, checkpoint: CheckpointRow) -> bool:
    """False when this placement committed this step before."""
    result = await tx.execute(
        insert(checkpoints)
        .values(
            id=checkpoint.checkpoint_id,
            org_id=checkpoint.org_id,
            workload_id=checkpoint.workload_id,
            placement_id=checkpoint.placement_id,
            number=checkpoint.number,
            step=checkpoint.step,
            bytes=checkpoint.bytes,
            manifest_sha256=checkpoint.manifest_sha256,
            files=msgspec.to_builtins(checkpoint.files),
            committed_at=checkpoint.committed_at,
        )
        .on_conflict_do_nothing(index_elements=["placement_id", "step"])
    )
    return result.rowcount == 1


async def find_checkpoint(tx: Tx, placement_id: UUID, step: int) -> CheckpointRow | None:
    query = sa.select(checkpoints).where(checkpoints.c.placement_id == placement_id, checkpoints.c.step == step)
    row = (await tx.execute(query)).first()
    return _checkpoint(row) if row else None


async def newest_checkpoint(tx: Tx, workload_id: UUID) -> CheckpointRow | None:
    """The commit of the latest placement that made one: newer placements started from older ones' commits."""
    query = (
        sa.select(checkpoints)
        .where(checkpoints.c.workload_id == workload_id)
        .order_by(checkpoints.c.number.desc(), checkpoints.c.step.desc())
        .limit(1)
    )
    row = (await tx.execute(query)).first()
    return _checkpoint(row) if row else None


# --- rows to values ----------------------------------------------------------------------------------------------------

_PLACEMENT_FIELDS = [
    name for name in PlacementRow.__dataclass_fields__ if name not in ("placement_id", "gpu_indices", "ordered_wall_at")
]


def _workload(row: sa.Row[Any]) -> WorkloadRow:
    return WorkloadRow(
        workload_id=row.id,
        org_id=row.org_id,
        spec=msgspec.convert(row.spec, WorkloadSpec),
        state=WorkloadState(row.state),
        state_reason=row.state_reason,
        outcome=WorkloadState(row.outcome) if row.outcome else None,
        stop_requested=row.stop_requested,
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        reviewed_at=row.reviewed_at,
        moves=row.moves,
        restarts=row.restarts,
        placements=row.placements,
        step=row.step,
        total_steps=row.total_steps,
        hold_micro=row.hold_micro,
        spent_micro=row.spent_micro,
        energy_mj=row.energy_mj,
        feasible=row.feasible,
    )


def _placement(row: sa.Row[Any]) -> PlacementRow:
    values = row._mapping  # noqa: SLF001  (SQLAlchemy's public name for it)
    known = {name: values[name] for name in PlacementRow.__dataclass_fields__ if name in values}
    known |= {"placement_id": row.id, "gpu_indices": tuple(row.gpu_indices), "state": PlacementState(row.state)}
    return PlacementRow(**known)


def _decision(row: sa.Row[Any]) -> DecisionRow:
    values = row._mapping  # noqa: SLF001
    known = {name: values[name] for name in DecisionRow.__dataclass_fields__ if name in values and name != "decision_id"}
    return DecisionRow(decision_id=row.id, **known)


def _checkpoint(row: sa.Row[Any]) -> CheckpointRow:
    return CheckpointRow(
        checkpoint_id=row.id,
        org_id=row.org_id,
        workload_id=row.workload_id,
        placement_id=row.placement_id,
        number=row.number,
        step=row.step,
        bytes=row.bytes,
        manifest_sha256=row.manifest_sha256,
        files=tuple(msgspec.convert(row.files, list[CheckpointFile])),
        committed_at=row.committed_at,
    )
