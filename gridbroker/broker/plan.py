"""What a workload needs next: a pure function from the facts of one moment to one action.

Every state of `workload.py` is answered here and nowhere else. Rules that need a view of the market (where to place, whether a
move pays) are only asked for: `Route` and `Review` name the question, `routing` and `migration` answer it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from gridbroker.broker.workload import (
    ENDED,
    EXIT_RESUME_ME,
    EXIT_SIGTERM,
    EndReason,
    PlacementState,
    WorkloadSpec,
    WorkloadState,
)

START_TIMEOUT = timedelta(seconds=120)
"""Wall time that a node has to begin what it was ordered, before the placement is given up."""
STOP_ALLOWANCE = timedelta(hours=1)
"""Wall time beyond its grace that a stopping program's node has to upload its checkpoint and report, before it is given up."""
SLOWEST_UPLOAD_MIB_PER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementFacts:
    placement_id: UUID
    node_id: UUID
    number: int
    state: PlacementState
    node_lost: bool
    ordered_wall_at: datetime | None
    """When its node was last told to start it, or to stop it."""
    started_at: datetime | None
    reported: str | None
    """Newest report of the agent: running, exited, refused."""
    reported_running_at: datetime | None
    reported_ended_at: datetime | None
    exit_code: int | None
    reason: str | None
    has_commit: bool
    """A checkpoint was committed by this very placement."""
    last_seen_at: datetime | None = None
    """Grid time of a lost node's last heartbeat: nothing after it is billed, because nobody saw it run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFacts:
    workload_id: UUID
    spec: WorkloadSpec
    state: WorkloadState
    outcome: WorkloadState | None
    stop_requested: str | None
    """cancel, complete or budget."""
    restarts: int
    placement: PlacementFacts | None
    """The one that runs, or ran last."""
    target: PlacementFacts | None
    """Reserved by a move."""
    runs_out_at: datetime | None
    """Grid time at which the spend reaches the hold, while something runs."""
    review_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until` (grid time) or `until_wall`, whichever comes first; both None: until something is reported."""

    until: datetime | None
    until_wall: datetime | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Look for a place now."""


@dataclass(frozen=True, slots=True)
class MarkRunning:
    placement_id: UUID
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Review:
    """Ask whether a move pays."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Order the placement to checkpoint and stop, for good."""

    placement_id: UUID
    why: str


@dataclass(frozen=True, slots=True)
class Switch:
    """The source of a move ended with a checkpoint: close it and start the target from there."""

    source_id: UUID
    target_id: UUID
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class EndPlacement:
    """Close the placement (and void the target, if any), then settle with `outcome`, or look for a place again when it is None."""

    placement_id: UUID
    reason: EndReason
    ended_at: datetime
    outcome: WorkloadState | None
    state_reason: str | None
    counts_as_restart: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing runs and nothing will: settle with `outcome`."""

    outcome: WorkloadState
    state_reason: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Statement, postings and receipt; then the workload has ended."""


Action = Wait | Route | MarkRunning | Review | Stop | Switch | EndPlacement | Finish | Settle


def next_action(facts: WorkloadFacts, *, now: datetime, wall: datetime) -> Action:
    """The one next step. `now` is grid time, `wall` the time that start timeouts are measured in."""
    match facts.state:
        case WorkloadState.SUBMITTED | WorkloadState.WAITING:
            return _unplaced(facts, now)
        case WorkloadState.STARTING:
            return _starting(facts, now, wall)
        case WorkloadState.RUNNING:
            return _running(facts, now)
        case WorkloadState.MIGRATING:
            return _migrating(facts, now, wall)
        case WorkloadState.STOPPING:
            return _stopping(facts, now, wall)
        case WorkloadState.SETTLING:
            return Settle()
        case _:
            assert facts.state in ENDED
            return Wait(None)


def _unplaced(facts: WorkloadFacts, now: datetime) -> Action:
    if facts.stop_requested is not None:
        return Finish(_outcome_of_stop(facts.stop_requested), "stopped by its owner before it was placed")
    deadline = facts.spec.deadline_at
    if deadline is not None and now >= deadline:
        return Finish(WorkloadState.FAILED, "deadline passed before a place was found")
    if facts.runs_out_at is not None and facts.runs_out_at <= now:
        return Finish(WorkloadState.FAILED, "budget used up")
    return Route()


def _starting(facts: WorkloadFacts, now: datetime, wall: datetime) -> Action:
    placement = _current(facts)
    if placement.reported in ("exited", "refused"):
        return _ended(facts, placement, now)
    if placement.node_lost:
        return _lost(facts, placement, now)
    if facts.stop_requested is not None:
        return Stop(placement.placement_id, facts.stop_requested)
    if placement.reported == "running":
        return MarkRunning(placement.placement_id, placement.reported_running_at or now)
    given_up_at = placement.ordered_wall_at + START_TIMEOUT if placement.ordered_wall_at is not None else None
    if given_up_at is not None and wall >= given_up_at:
        return EndPlacement(
            placement.placement_id, EndReason.LOST, now, _after_failure(facts), "the node did not start it in time", True
        )
    return Wait(None, given_up_at)


def _running(facts: WorkloadFacts, now: datetime) -> Action:
    placement = _current(facts)
    if placement.reported in ("exited", "refused"):
        return _ended(facts, placement, now)
    if placement.node_lost:
        return _lost(facts, placement, now)
    if facts.stop_requested is not None:
        return Stop(placement.placement_id, facts.stop_requested)
    if facts.runs_out_at is not None and facts.runs_out_at <= now:
        return Stop(placement.placement_id, "budget")
    if facts.review_due_at is not None and facts.review_due_at <= now:
        return Review()
    return Wait(min((at for at in (facts.review_due_at, facts.runs_out_at) if at is not None), default=None))


def _migrating(facts: WorkloadFacts, now: datetime, wall: datetime) -> Action:
    source, target = _current(facts), facts.target
    if source.reported in ("exited", "refused"):
        resumable = _end_reason(source) is EndReason.CHECKPOINTED
        if resumable and target is not None and not target.node_lost and facts.stop_requested is None:
            return Switch(source.placement_id, target.placement_id, source.reported_ended_at or now)
        return _ended(facts, source, now)
    if source.node_lost:
        return _lost(facts, source, now)
    given_up_at = _stop_given_up_at(facts, source)
    if given_up_at is not None and wall >= given_up_at:
        return EndPlacement(
            source.placement_id, EndReason.LOST, now, _after_failure(facts), "the node did not stop it in time", True
        )
    if facts.runs_out_at is not None and facts.runs_out_at <= now:
        return Stop(source.placement_id, "budget")
    return Wait(facts.runs_out_at, given_up_at)


def _stopping(facts: WorkloadFacts, now: datetime, wall: datetime) -> Action:
    placement = _current(facts)
    assert facts.stop_requested is not None, "a workload stops because somebody asked"
    outcome = _outcome_of_stop(facts.stop_requested)
    if placement.reported in ("exited", "refused"):
        if placement.exit_code == 0 and _end_reason(placement) is EndReason.DONE:
            outcome = WorkloadState.COMPLETED
        return EndPlacement(
            placement.placement_id,
            EndReason.STOPPED,
            placement.reported_ended_at or now,
            outcome,
            _STOP_WORDS[facts.stop_requested],
        )
    if placement.node_lost:
        ended_at = _seen(placement, now)
        return EndPlacement(placement.placement_id, EndReason.LOST, ended_at, outcome, "the node was lost while stopping")
    given_up_at = _stop_given_up_at(facts, placement)
    if given_up_at is not None and wall >= given_up_at:
        return EndPlacement(placement.placement_id, EndReason.LOST, now, outcome, "the node did not stop it in time")
    return Wait(None, given_up_at)


def _stop_given_up_at(facts: WorkloadFacts, placement: PlacementFacts) -> datetime | None:
    if placement.ordered_wall_at is None:
        return None
    upload = timedelta(seconds=facts.spec.checkpoint_mib / SLOWEST_UPLOAD_MIB_PER_S)
    return placement.ordered_wall_at + timedelta(seconds=facts.spec.grace_s) + upload + STOP_ALLOWANCE


def _ended(facts: WorkloadFacts, placement: PlacementFacts, now: datetime) -> Action:
    """The program ended by itself."""
    reason = _end_reason(placement)
    ended_at = placement.reported_ended_at or now
    if reason is EndReason.DONE:
        return EndPlacement(placement.placement_id, reason, ended_at, WorkloadState.COMPLETED, None)
    if facts.stop_requested is not None:
        outcome = _outcome_of_stop(facts.stop_requested)
        return EndPlacement(placement.placement_id, EndReason.STOPPED, ended_at, outcome, _STOP_WORDS[facts.stop_requested])
    if reason is EndReason.CHECKPOINTED:
        # Nobody asked it to stop and it left nothing new to resume from: without a count it could go round for ever.
        if facts.state is not WorkloadState.MIGRATING and not placement.has_commit:
            why = "it stopped by itself without a checkpoint"
            return EndPlacement(placement.placement_id, reason, ended_at, _after_failure(facts), why, True)
        return EndPlacement(placement.placement_id, reason, ended_at, None, "checkpointed; to be resumed")
    why = placement.reason or f"exit code {placement.exit_code}"
    return EndPlacement(placement.placement_id, reason, ended_at, _after_failure(facts), why, True)


def _lost(facts: WorkloadFacts, placement: PlacementFacts, now: datetime) -> Action:
    outcome = _outcome_of_stop(facts.stop_requested) if facts.stop_requested is not None else _after_failure(facts)
    return EndPlacement(placement.placement_id, EndReason.LOST, _seen(placement, now), outcome, "the node was lost", True)


def _seen(placement: PlacementFacts, now: datetime) -> datetime:
    return min(now, placement.last_seen_at or now)


def _after_failure(facts: WorkloadFacts) -> WorkloadState | None:
    return WorkloadState.FAILED if facts.restarts >= facts.spec.max_restarts else None


def _end_reason(placement: PlacementFacts) -> EndReason:
    if placement.reported == "refused":
        return EndReason.REFUSED
    if placement.exit_code == 0:
        return EndReason.DONE
    if placement.exit_code == EXIT_RESUME_ME or (placement.exit_code == EXIT_SIGTERM and placement.has_commit):
        return EndReason.CHECKPOINTED
    return EndReason.FAILED


def _current(facts: WorkloadFacts) -> PlacementFacts:
    assert facts.placement is not None, f"a workload in state {facts.state} has a placement"
    return facts.placement


def _outcome_of_stop(why: str) -> WorkloadState:
    return {"cancel": WorkloadState.CANCELLED, "complete": WorkloadState.COMPLETED, "budget": WorkloadState.FAILED}[why]


_STOP_WORDS = {"cancel": "cancelled by its owner", "complete": "completed by its owner", "budget": "budget used up"}
