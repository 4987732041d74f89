"""Reading one workload's facts, as `plan.next_action` wants them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from gridbroker.broker import repository
from gridbroker.broker.plan import PlacementFacts, WorkloadFacts
from gridbroker.broker.rows import CheckpointRow, PlacementRow, WorkloadRow
from gridbroker.broker.workload import EndReason, PlacementState
from gridbroker.core.clock import Clock
from gridbroker.core.db import Tx
from gridbroker.pricing import rating
from gridbroker.providers import service as providers
from gridbroker.providers.node import Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A workload with all that belongs to it, read in one transaction."""

    workload: WorkloadRow
    placements: tuple[PlacementRow, ...]
    checkpoint: CheckpointRow | None
    """Where it would resume."""
    lost_nodes: Mapping[UUID, datetime]
    """Of the open placements' nodes those that are lost, with the wall time of their last heartbeat."""

    @property
    def current(self) -> PlacementRow | None:
        """The placement that runs, or ran last; a reserved target is not it."""
        settled = [placement for placement in self.placements if placement.state is not PlacementState.RESERVED]
        return settled[-1] if settled else None

    @property
    def target(self) -> PlacementRow | None:
        reserved = [placement for placement in self.placements if placement.state is PlacementState.RESERVED]
        return reserved[-1] if reserved else None

    @property
    def refused_by(self) -> tuple[UUID, ...]:
        """Nodes that could not carry out its order: they are not asked again."""
        return tuple(sorted({one.node_id for one in self.placements if one.end_reason == EndReason.REFUSED}))

    @property
    def resume_step(self) -> int | None:
        return self.checkpoint.step if self.checkpoint else None


async def load(tx: Tx, workload_id: UUID) -> Loaded | None:
    workload = await repository.find_workload(tx, workload_id)
    if workload is None:
        return None
    placements = tuple(await repository.placements_of(tx, workload_id)) if workload.placements else ()
    open_nodes = {placement.node_id for placement in placements if placement.state is not PlacementState.ENDED}
    nodes = [await providers.get_status(tx, node_id) for node_id in sorted(open_nodes)]
    return Loaded(
        workload=workload,
        placements=placements,
        checkpoint=await repository.newest_checkpoint(tx, workload_id) if placements else None,
        lost_nodes={node.facts.node_id: node.last_seen_at or node.created_at for node in nodes if node.facts.health is Health.LOST},
    )


def facts_of(loaded: Loaded, clock: Clock, *, review_interval: timedelta) -> WorkloadFacts:
    workload, current, target, now = loaded.workload, loaded.current, loaded.target, clock.now()
    reviewed_at = workload.reviewed_at or (current.started_at if current else None)
    return WorkloadFacts(
        workload_id=workload.workload_id,
        spec=workload.spec,
        state=workload.state,
        outcome=workload.outcome,
        stop_requested=workload.stop_requested,
        restarts=workload.restarts,
        placement=_facts(current, loaded, clock) if current else None,
        target=_facts(target, loaded, clock) if target else None,
        runs_out_at=_runs_out_at(loaded, now),
        review_due_at=reviewed_at + review_interval if reviewed_at else None,
    )


def usage_of(placement: PlacementRow, now: datetime) -> rating.Usage:
    """What a placement is billed for, up to its end, or to now while it runs; nothing when it never started."""
    start = placement.started_at or now
    end = placement.ended_at or max(now, start)
    return rating.usage(
        start, end if placement.started_at else start, len(placement.gpu_indices), placement.price_micro_per_gpu_hour
    )


def spent_micro(loaded: Loaded, now: datetime) -> int:
    """Cost to date, never above the hold."""
    return rating.cost_of([usage_of(placement, now) for placement in loaded.placements], loaded.workload.hold_micro)


def _runs_out_at(loaded: Loaded, now: datetime) -> datetime | None:
    current = loaded.current
    earlier = [usage_of(placement, now) for placement in loaded.placements if placement.ended_at is not None]
    spent = rating.cost_of(earlier)
    if current is None or current.started_at is None or current.ended_at is not None:
        return now if loaded.placements and spent >= loaded.workload.hold_micro else None
    return runs_out_at(loaded, current, current.started_at, spent)


def runs_out_at(loaded: Loaded, placement: PlacementRow, started_at: datetime, spent_before_micro: int) -> datetime | None:
    """Grid time at which a placement that started then has used up the hold."""
    return rating.runs_out_at(
        hold_micro=loaded.workload.hold_micro,
        spent_micro=spent_before_micro,
        started_at=started_at,
        gpu_count=len(placement.gpu_indices),
        price_micro_per_gpu_hour=placement.price_micro_per_gpu_hour,
    )


def _facts(placement: PlacementRow, loaded: Loaded, clock: Clock) -> PlacementFacts:
    checkpoint = loaded.checkpoint
    silent_since = loaded.lost_nodes.get(placement.node_id)
    return PlacementFacts(
        placement_id=placement.placement_id,
        node_id=placement.node_id,
        number=placement.number,
        state=placement.state,
        node_lost=silent_since is not None,
        last_seen_at=clock.now() - (clock.wall() - silent_since) * clock.factor if silent_since else None,
        ordered_wall_at=placement.ordered_wall_at,
        started_at=placement.started_at,
        reported=placement.reported,
        reported_running_at=placement.reported_running_at,
        reported_ended_at=placement.reported_ended_at,
        exit_code=placement.exit_code,
        reason=placement.reason,
        has_commit=checkpoint is not None and checkpoint.placement_id == placement.placement_id,
    )
