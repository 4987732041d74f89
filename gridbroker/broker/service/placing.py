"""Recording what was decided about a place: routed or waiting, running, stopping, moved."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from gridbroker.broker import repository
from gridbroker.broker.explain import move_lines
from gridbroker.broker.migration import Assessment
from gridbroker.broker.plan import MarkRunning, Stop, Switch, Wait
from gridbroker.broker.routing import Candidate, Route
from gridbroker.broker.rows import DecisionRow, PlacementRow
from gridbroker.broker.service.closing import close_placement, look_again_in_s
from gridbroker.broker.service.facts import Loaded, runs_out_at, spent_micro
from gridbroker.broker.service.market import Market, Question, as_body
from gridbroker.broker.service.orders import order_of
from gridbroker.broker.service.recording import move, tell
from gridbroker.broker.workload import EndReason, PlacementState, WorkloadState
from gridbroker.core.claims import NOW, Claim
from gridbroker.core.clock import Clock
from gridbroker.core.db import Tx
from gridbroker.core.ids import derive
from gridbroker.node_agent.protocol import Action
from gridbroker.providers import service as providers
from gridbroker.providers.backends import agent


async def routed(tx: Tx, clock: Clock, claim: Claim, loaded: Loaded, market: Market, question: Question, route: Route) -> bool:
    """Store the decision and, where there is a place, lease it and order the start. Raises LeaseConflict. True when placed."""
    workload, chosen = loaded.workload, route.chosen
    if chosen is None:
        await _keep_waiting(tx, clock, claim, loaded, market, question, route)
        return False
    decision = _decision(clock, loaded, market, question, "route", "placed", chosen.node_id, {"route": as_body(route)})
    await repository.add_decision(tx, decision)
    placement = await _lease(tx, clock, loaded, chosen, decision.decision_id, PlacementState.STARTING)
    await agent.apply_in(tx, order_of(workload, placement, loaded.checkpoint, Action.RUN))
    await tell(
        tx,
        clock,
        workload,
        "placed",
        node=chosen.node_name,
        zone=chosen.zone,
        decision_id=str(decision.decision_id),
        number=placement.number,
    )
    feasible = workload.feasible or [[str(node.node_id), node.zone, node.pue] for node in route.feasible_nodes]
    await move(
        tx,
        claim,
        workload,
        WorkloadState.STARTING,
        due_in_s=START_CHECK_S,
        state_reason=None,
        placements=placement.number,
        feasible=feasible,
    )
    return True


START_CHECK_S = 125.0
"""Just beyond the start timeout of `plan`; a report wakes the row long before."""
AT_ONCE_S = 0.0
"""`plan` looks again and says until when to wait."""


async def _keep_waiting(
    tx: Tx, clock: Clock, claim: Claim, loaded: Loaded, market: Market, question: Question, route: Route
) -> None:
    workload = loaded.workload
    reason = _why_not(route)
    if workload.state is not WorkloadState.WAITING or workload.state_reason != reason:
        decision = _decision(clock, loaded, market, question, "route", "waiting", None, {"route": as_body(route)})
        await repository.add_decision(tx, decision)
        await tell(tx, clock, workload, "waiting", reason=reason, rejected=route.rejected_counts)
    await move(tx, claim, workload, WorkloadState.WAITING, due_in_s=look_again_in_s(claim.attempts), state_reason=reason)


def _why_not(route: Route) -> str:
    if not route.nodes_seen:
        return "no node is registered"
    counted = ", ".join(f"{reason} {count}" for reason, count in route.rejected_counts.items())
    return f"none of {route.nodes_seen} nodes will do: {counted}"[:500]


async def running(tx: Tx, clock: Clock, claim: Claim, loaded: Loaded, action: MarkRunning, review_interval: timedelta) -> None:
    placement = loaded.current
    assert placement is not None
    out_at = runs_out_at(loaded, placement, action.started_at, spent_micro(loaded, clock.now()))
    next_at = min(at for at in (action.started_at + review_interval, out_at) if at is not None)
    await repository.update_placement(tx, action.placement_id, state=PlacementState.RUNNING, started_at=action.started_at)
    await tell(tx, clock, loaded.workload, "running", node=placement.node_name, zone=placement.zone, number=placement.number)
    await move(
        tx,
        claim,
        loaded.workload,
        WorkloadState.RUNNING,
        due_in_s=wall_delay_s(next_at, clock),
        started_at=loaded.workload.started_at or action.started_at,
        reviewed_at=action.started_at,
    )


async def stopping(tx: Tx, clock: Clock, claim: Claim, loaded: Loaded, action: Stop) -> None:
    placement = loaded.current
    assert placement is not None
    await agent.apply_in(tx, order_of(loaded.workload, placement, loaded.checkpoint, Action.CHECKPOINT_AND_STOP))
    await repository.update_placement(tx, action.placement_id, state=PlacementState.STOPPING, ordered_wall_at=NOW)
    await tell(tx, clock, loaded.workload, "stopping", why=action.why, node=placement.node_name)
    await move(tx, claim, loaded.workload, WorkloadState.STOPPING, due_in_s=AT_ONCE_S, stop_requested=action.why)


async def reviewed(tx: Tx, clock: Clock, claim: Claim, loaded: Loaded, energy_mj: int, due_in_s: float | None) -> None:
    """It stays: note cost and energy to date."""
    await move(
        tx,
        claim,
        loaded.workload,
        WorkloadState.RUNNING,
        due_in_s=due_in_s,
        reviewed_at=clock.now(),
        spent_micro=spent_micro(loaded, clock.now()),
        energy_mj=energy_mj,
    )


async def review_kept(
    tx: Tx, clock: Clock, loaded: Loaded, market: Market, question: Question, route: Route, assessment: Assessment, outcome: str
) -> UUID:
    """Store a review's decision. Reviews that say the same as the one before are not stored again."""
    body = {"route": as_body(route), "assessment": as_body(assessment), "sum": list(move_lines(assessment))}
    chosen = assessment.target.node_id if assessment.target else None
    decision = _decision(clock, loaded, market, question, "review", outcome, chosen, body)
    await repository.add_decision(tx, decision)
    return decision.decision_id


async def migrating(
    tx: Tx, clock: Clock, claim: Claim, loaded: Loaded, target: Candidate, decision_id: UUID, assessment: Assessment
) -> None:
    """Lease the target first, then order the source to checkpoint and stop. Raises LeaseConflict."""
    workload, source = loaded.workload, loaded.current
    assert source is not None
    placement = await _lease(tx, clock, loaded, target, decision_id, PlacementState.RESERVED)
    await agent.apply_in(tx, order_of(workload, source, loaded.checkpoint, Action.CHECKPOINT_AND_STOP))
    await repository.update_placement(tx, source.placement_id, state=PlacementState.STOPPING, ordered_wall_at=NOW)
    await tell(
        tx,
        clock,
        workload,
        "moving",
        source=source.node_name,
        target=target.node_name,
        zone=target.zone,
        decision_id=str(decision_id),
        sum=list(move_lines(assessment)),
    )
    await move(
        tx,
        claim,
        workload,
        WorkloadState.MIGRATING,
        due_in_s=AT_ONCE_S,
        reviewed_at=clock.now(),
        placements=placement.number,
        spent_micro=spent_micro(loaded, clock.now()),
    )


async def pausing(tx: Tx, clock: Clock, claim: Claim, loaded: Loaded, broken: Sequence[str]) -> None:
    """Nowhere keeps what the owner asked for: checkpoint, stop, and wait for a place that does. A move without a target."""
    workload, source = loaded.workload, loaded.current
    assert source is not None
    await agent.apply_in(tx, order_of(workload, source, loaded.checkpoint, Action.CHECKPOINT_AND_STOP))
    await repository.update_placement(tx, source.placement_id, state=PlacementState.STOPPING, ordered_wall_at=NOW)
    await tell(tx, clock, workload, "pausing", node=source.node_name, broken=list(broken))
    await move(tx, claim, workload, WorkloadState.MIGRATING, due_in_s=AT_ONCE_S, reviewed_at=clock.now())


async def switched(tx: Tx, clock: Clock, claim: Claim, loaded: Loaded, action: Switch) -> int:
    """The source is closed at its checkpoint and the target starts from it. Returns how many GPUs were freed."""
    workload, source, target = loaded.workload, loaded.current, loaded.target
    assert source is not None and target is not None
    freed = await close_placement(tx, clock, source, EndReason.CHECKPOINTED, action.ended_at)
    await repository.update_placement(
        tx,
        target.placement_id,
        state=PlacementState.STARTING,
        ordered_wall_at=NOW,
        resume_checkpoint_id=loaded.checkpoint.checkpoint_id if loaded.checkpoint else None,
    )
    await agent.apply_in(tx, order_of(workload, target, loaded.checkpoint, Action.RUN))
    await tell(
        tx,
        clock,
        workload,
        "moved",
        source=source.node_name,
        target=target.node_name,
        step=loaded.resume_step,
        number=target.number,
    )
    await move(tx, claim, workload, WorkloadState.STARTING, due_in_s=START_CHECK_S, moves=workload.moves + 1)
    return freed


async def _lease(tx: Tx, clock: Clock, loaded: Loaded, chosen: Candidate, decision_id: UUID, state: PlacementState) -> PlacementRow:
    workload = loaded.workload
    number = workload.placements + 1
    placement = PlacementRow(
        placement_id=derive("placement", workload.workload_id, number),
        org_id=workload.org_id,
        provider_org_id=chosen.provider_org_id,
        workload_id=workload.workload_id,
        node_id=chosen.node_id,
        node_name=chosen.node_name,
        zone=chosen.zone,
        gpu_model=chosen.gpu_model,
        gpu_indices=chosen.gpu_indices,
        price_micro_per_gpu_hour=chosen.price_micro_per_gpu_hour,
        pue=chosen.pue,
        number=number,
        state=state,
        end_reason=None,
        decision_id=decision_id,
        resume_checkpoint_id=loaded.checkpoint.checkpoint_id if loaded.checkpoint and state is PlacementState.STARTING else None,
        leased_at=clock.now(),
        ordered_wall_at=None,
        started_at=None,
        ended_at=None,
        reported=None,
        reported_seq=0,
        reported_running_at=None,
        reported_ended_at=None,
        exit_code=None,
        reason=None,
    )
    await repository.add_placement(tx, placement, ordered=state is PlacementState.STARTING)
    await providers.open_lease(
        tx,
        lease_ids=[derive("lease", placement.placement_id, index) for index in chosen.gpu_indices],
        node_id=chosen.node_id,
        org_id=chosen.provider_org_id,
        gpu_indices=chosen.gpu_indices,
        placement_id=placement.placement_id,
        epoch=number,
        now=clock.now(),
    )
    return placement


def _decision(
    clock: Clock,
    loaded: Loaded,
    market: Market,
    question: Question,
    kind: str,
    outcome: str,
    chosen: UUID | None,
    body: dict[str, object],
) -> DecisionRow:
    route = body["route"]
    assert isinstance(route, dict)
    return DecisionRow(
        decision_id=clock.new_id(),
        org_id=loaded.workload.org_id,
        workload_id=loaded.workload.workload_id,
        kind=kind,
        outcome=outcome,
        chosen_node_id=chosen,
        decided_at=market.at,
        policy_version=str(route["policy_version"]),
        snapshot=market.snapshot,
        inputs=as_body(question),
        body=body,
    )


def wait_s(wait: Wait, clock: Clock) -> float | None:
    """Wall seconds until there is something to do again; None: until something is reported."""
    wall_s = None if wait.until_wall is None else max(0.0, (wait.until_wall - clock.wall()).total_seconds())
    return min((one for one in (wall_delay_s(wait.until, clock), wall_s) if one is not None), default=None)


def wall_delay_s(until: datetime | None, clock: Clock) -> float | None:
    """Wall seconds until a grid time; None when there is nothing to wait for."""
    if until is None:
        return None
    return max(0.0, (until - clock.now()).total_seconds() / clock.factor)
