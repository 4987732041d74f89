"""What every recorded step shares: the guarded write of the workload's row, and the event that tells of it."""

from typing import Any

from gridbroker.broker import repository
from gridbroker.broker.models import workloads
from gridbroker.broker.rows import EventRow, WorkloadRow
from gridbroker.broker.workload import WorkloadState, may_move
from gridbroker.core import claims
from gridbroker.core.claims import Claim
from gridbroker.core.clock import Clock
from gridbroker.core.db import Tx


class ClaimLost(Exception):
    """Somebody else has the row: the transaction rolls back and the result is dropped."""


async def move(
    tx: Tx, claim: Claim, workload: WorkloadRow, target: WorkloadState, *, due_in_s: float | None, **values: Any
) -> None:
    """Write a workload's next state under its claim. Raises ClaimLost."""
    assert may_move(workload.state, target), f"{workload.state} -> {target}"
    if target is not workload.state:
        values["attempts"] = 0
    if not await claims.record(tx, workloads, claim, due_in_s=due_in_s, state=target, **values):
        raise ClaimLost


async def tell(tx: Tx, clock: Clock, workload: WorkloadRow, kind: str, **detail: Any) -> None:
    event = EventRow(event_id=clock.new_id(), workload_id=workload.workload_id, at=clock.now(), kind=kind, detail=detail)
    await repository.add_event(tx, event, workload.org_id)
