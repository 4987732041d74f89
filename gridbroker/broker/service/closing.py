"""Ending placements and settling workloads."""

from datetime import datetime

from gridbroker.broker import repository
from gridbroker.broker.plan import EndPlacement, Finish
from gridbroker.broker.rows import PlacementRow
from gridbroker.broker.service.facts import Loaded, usage_of
from gridbroker.broker.service.recording import move, tell
from gridbroker.broker.workload import EndReason, PlacementState, WorkloadState
from gridbroker.core.claims import Claim
from gridbroker.core.clock import Clock
from gridbroker.core.db import Tx
from gridbroker.metering import service as metering
from gridbroker.metering.closing import PlacementFacts, StatementFacts
from gridbroker.metering.service import MeterRequest
from gridbroker.pricing import rating
from gridbroker.pricing.rate_card import PLATFORM_FEE_BP
from gridbroker.providers import service as providers
from gridbroker.providers.backends import agent
from gridbroker.settlement import service as settlement
from gridbroker.settlement.data_integrity import Signer
from gridbroker.settlement.service import Settlement

RETRY_S = (0.5, 2.0, 10.0, 60.0)
"""Wall seconds between the end of a failed placement and the next try, by how many failed before."""
LOOK_AGAIN_S = (5.0, 20.0, 60.0)
"""Wall seconds until a workload that found no place looks again by itself; freed GPUs and new nodes wake it sooner."""


def retry_in_s(failures: int) -> float:
    return RETRY_S[min(failures, len(RETRY_S)) - 1]


def look_again_in_s(looks: int) -> float:
    return LOOK_AGAIN_S[min(looks, len(LOOK_AGAIN_S)) - 1]


async def end_placement(tx: Tx, clock: Clock, claim: Claim, loaded: Loaded, action: EndPlacement) -> int:
    """Close the placement and void a reserved target; settle next, or look for another place. Returns how many GPUs were freed."""
    workload, current = loaded.workload, loaded.current
    assert current is not None and current.placement_id == action.placement_id
    freed = await close_placement(tx, clock, current, action.reason, _end_of(current, action.ended_at))
    if loaded.target is not None:
        freed += await void(tx, clock, loaded)
    target = WorkloadState.WAITING if action.outcome is None else WorkloadState.SETTLING
    values: dict[str, object] = {"state_reason": action.state_reason, "outcome": action.outcome}
    if action.counts_as_restart:
        values["restarts"] = workload.restarts + 1
    await tell(
        tx,
        clock,
        workload,
        "placement_ended",
        placement_id=str(current.placement_id),
        node=current.node_name,
        reason=action.reason,
        exit_code=current.exit_code,
        detail=action.state_reason,
    )
    delay_s = retry_in_s(workload.restarts + 1) if action.counts_as_restart and action.outcome is None else 0
    await move(tx, claim, workload, target, due_in_s=delay_s, **values)
    return freed


async def void(tx: Tx, clock: Clock, loaded: Loaded) -> int:
    """Give back what a move had reserved."""
    assert loaded.target is not None
    await tell(
        tx, clock, loaded.workload, "move_voided", placement_id=str(loaded.target.placement_id), node=loaded.target.node_name
    )
    return await close_placement(tx, clock, loaded.target, EndReason.VOIDED, clock.now())


async def close_placement(tx: Tx, clock: Clock, placement: PlacementRow, reason: EndReason, ended_at: datetime) -> int:
    """Free the GPUs, withdraw the order, meter what was used. Returns how many GPUs were freed."""
    await providers.close_leases(tx, placement.placement_id, clock.now())
    await agent.forget_in(tx, placement.placement_id)
    started_at = placement.started_at or placement.reported_running_at
    ended_at = max(ended_at, started_at) if started_at else ended_at
    await repository.update_placement(
        tx, placement.placement_id, state=PlacementState.ENDED, end_reason=reason, ended_at=ended_at, started_at=started_at
    )
    if started_at is not None:
        await metering.meter(tx, meter_request(placement, started_at, ended_at, clock.factor))
    return len(placement.gpu_indices)


async def finish(tx: Tx, claim: Claim, loaded: Loaded, action: Finish) -> None:
    """Nothing runs: settle next."""
    await move(
        tx, claim, loaded.workload, WorkloadState.SETTLING, due_in_s=0, outcome=action.outcome, state_reason=action.state_reason
    )


async def settle(tx: Tx, clock: Clock, signer: Signer, issuer: str, claim: Claim, loaded: Loaded) -> Settlement:
    """Statement, postings, charge, payouts and receipt, in the one transaction that ends the workload."""
    workload = loaded.workload
    assert workload.outcome is not None, "settling follows an outcome"
    statement = await metering.close_statement(tx, clock.now(), statement_facts(loaded, clock))
    settled = await settlement.settle(
        tx, clock, statement, held_micro=workload.hold_micro, fee_bp=PLATFORM_FEE_BP, signer=signer, issuer=issuer
    )
    await tell(
        tx,
        clock,
        workload,
        "settled",
        outcome=workload.outcome,
        cost_micro=statement.cost_micro,
        energy_mj=str(statement.energy_mj),
        emissions_mg=str(statement.emissions_mg),
    )
    await move(
        tx,
        claim,
        workload,
        workload.outcome,
        due_in_s=None,
        ended_at=clock.now(),
        spent_micro=statement.cost_micro,
        energy_mj=statement.energy_mj,
    )
    return settled


def statement_facts(loaded: Loaded, clock: Clock) -> StatementFacts:
    workload = loaded.workload
    ran = [placement for placement in loaded.placements if placement.started_at is not None and placement.ended_at is not None]
    charges = rating.rate([usage_of(placement, clock.now()) for placement in ran], workload.hold_micro)
    assert workload.outcome is not None
    return StatementFacts(
        workload_id=workload.workload_id,
        org_id=workload.org_id,
        outcome=workload.outcome,
        submitted_at=workload.submitted_at,
        home_zone=workload.spec.home_zone,
        feasible=tuple(workload.feasible_nodes),
        placements=tuple(_usage(placement, charge) for placement, charge in zip(ran, charges, strict=True)),
        moves=workload.moves,
        clock_factor=clock.factor,
    )


def meter_request(placement: PlacementRow, start: datetime, end: datetime, clock_factor: int) -> MeterRequest:
    return MeterRequest(
        subject_id=placement.placement_id,
        org_id=placement.org_id,
        provider_org_id=placement.provider_org_id,
        node_id=placement.node_id,
        zone=placement.zone,
        gpu_indices=placement.gpu_indices,
        start=start,
        end=end,
        clock_factor=clock_factor,
    )


def _usage(placement: PlacementRow, cost_micro: int) -> PlacementFacts:
    assert placement.started_at is not None and placement.ended_at is not None
    return PlacementFacts(
        placement_id=placement.placement_id,
        node_id=placement.node_id,
        provider_org_id=placement.provider_org_id,
        zone=placement.zone,
        pue=placement.pue,
        gpu_model=placement.gpu_model,
        gpu_indices=placement.gpu_indices,
        started_at=placement.started_at,
        ended_at=placement.ended_at,
        price_micro_per_gpu_hour=placement.price_micro_per_gpu_hour,
        cost_micro=cost_micro,
    )


def _end_of(placement: PlacementRow, ended_at: datetime) -> datetime:
    start = placement.started_at or placement.reported_running_at
    return max(ended_at, start) if start else ended_at
