"""Every state's next action, case by case."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gridbroker.broker.plan import (
    START_TIMEOUT,
    STOP_ALLOWANCE,
    Action,
    EndPlacement,
    Finish,
    MarkRunning,
    PlacementFacts,
    Review,
    Route,
    Settle,
    Stop,
    Switch,
    Wait,
    WorkloadFacts,
    next_action,
)
from gridbroker.broker.workload import EndReason, PlacementState, WorkloadState
from gridbroker.core.ids import derive
from tests.unit.broker.facts import NOON, workload

S, R = WorkloadState, EndReason
MINUTE = timedelta(minutes=1)
LATER, BEFORE = NOON + MINUTE, NOON - MINUTE
SOURCE, TARGET = derive("placement", 1), derive("placement", 2)


def placement(**changes: Any) -> PlacementFacts:
    facts = PlacementFacts(
        placement_id=SOURCE,
        node_id=derive("node", 1),
        number=1,
        state=PlacementState.RUNNING,
        node_lost=False,
        ordered_wall_at=NOON,
        started_at=BEFORE,
        reported="running",
        reported_running_at=BEFORE,
        reported_ended_at=None,
        exit_code=None,
        reason=None,
        has_commit=False,
    )
    return replace(facts, **changes)


def exited(code: int | None, **changes: Any) -> PlacementFacts:
    return placement(reported="exited", exit_code=code, reported_ended_at=BEFORE, **changes)


RESERVED = placement(placement_id=TARGET, number=2, state=PlacementState.RESERVED, reported=None, started_at=None)


def facts(state: WorkloadState, current: PlacementFacts | None = None, **changes: Any) -> WorkloadFacts:
    given = WorkloadFacts(
        workload_id=derive("workload", 1),
        spec=workload(max_restarts=1),
        state=state,
        outcome=None,
        stop_requested=None,
        restarts=0,
        placement=current,
        target=None,
        runs_out_at=None,
        review_due_at=None,
    )
    return replace(given, **changes)


def plan(given: WorkloadFacts) -> Action:
    return next_action(given, now=NOON, wall=NOON)


@pytest.mark.parametrize("state", [S.SUBMITTED, S.WAITING])
def test_unplaced(state: WorkloadState) -> None:
    assert plan(facts(state)) == Route()
    assert plan(facts(state, runs_out_at=LATER)) == Route()
    late = facts(state, spec=workload(deadline_at=NOON))
    assert plan(late) == Finish(S.FAILED, "deadline passed before a place was found")
    assert plan(replace(late, spec=workload(deadline_at=LATER))) == Route()
    assert plan(facts(state, runs_out_at=NOON)) == Finish(S.FAILED, "budget used up")
    for why, outcome in (("cancel", S.CANCELLED), ("complete", S.COMPLETED)):
        stopped = plan(replace(late, stop_requested=why))
        assert isinstance(stopped, Finish) and stopped.outcome is outcome, "its owner's word comes first"


def test_starting() -> None:
    ordered = placement(state=PlacementState.STARTING, started_at=None, reported=None, reported_running_at=None)
    assert plan(facts(S.STARTING, ordered)) == Wait(None, NOON + START_TIMEOUT)
    assert plan(facts(S.STARTING, replace(ordered, ordered_wall_at=None))) == Wait(None, None)
    running = replace(ordered, reported="running", reported_running_at=BEFORE)
    assert plan(facts(S.STARTING, running)) == MarkRunning(SOURCE, BEFORE)
    assert plan(facts(S.STARTING, running, stop_requested="cancel")) == Stop(SOURCE, "cancel")
    overdue = replace(ordered, ordered_wall_at=NOON - START_TIMEOUT)
    assert plan(facts(S.STARTING, overdue)) == EndPlacement(
        SOURCE, R.LOST, NOON, None, "the node did not start it in time", counts_as_restart=True
    )
    assert plan(facts(S.STARTING, replace(overdue, reported="running"))) == MarkRunning(SOURCE, NOON)
    refused = replace(ordered, reported="refused", reason="no such program", reported_ended_at=BEFORE)
    assert plan(facts(S.STARTING, refused)) == EndPlacement(
        SOURCE, R.REFUSED, BEFORE, None, "no such program", counts_as_restart=True
    )


def test_running() -> None:
    assert plan(facts(S.RUNNING, placement())) == Wait(None)
    assert plan(facts(S.RUNNING, placement(), review_due_at=LATER, runs_out_at=LATER + MINUTE)) == Wait(LATER)
    assert plan(facts(S.RUNNING, placement(), review_due_at=NOON, runs_out_at=LATER)) == Review()
    assert plan(facts(S.RUNNING, placement(), review_due_at=NOON, runs_out_at=NOON)) == Stop(SOURCE, "budget")
    assert plan(facts(S.RUNNING, placement(), stop_requested="complete", runs_out_at=NOON)) == Stop(SOURCE, "complete")
    lost = placement(node_lost=True, last_seen_at=BEFORE)
    assert plan(facts(S.RUNNING, lost)) == EndPlacement(SOURCE, R.LOST, BEFORE, None, "the node was lost", counts_as_restart=True)
    assert plan(facts(S.RUNNING, exited(0, node_lost=True))) == EndPlacement(SOURCE, R.DONE, BEFORE, S.COMPLETED, None)


@pytest.mark.parametrize(
    ("code", "has_commit", "reason", "outcome"),
    [
        (0, False, R.DONE, S.COMPLETED),
        (75, False, R.CHECKPOINTED, None),
        (143, True, R.CHECKPOINTED, None),
        (143, False, R.FAILED, None),
        (1, True, R.FAILED, None),
        (137, False, R.FAILED, None),
        (None, False, R.FAILED, None),
    ],
)
def test_what_an_exit_means(code: int | None, has_commit: bool, reason: EndReason, outcome: WorkloadState | None) -> None:
    action = plan(facts(S.RUNNING, exited(code, has_commit=has_commit)))
    assert isinstance(action, EndPlacement)
    assert (action.reason, action.outcome, action.ended_at) == (reason, outcome, BEFORE)
    assert action.counts_as_restart == (reason is R.FAILED or (code == 75 and not has_commit))


@pytest.mark.parametrize("ended", [exited(1), placement(node_lost=True), placement(reported="refused")])
def test_the_last_restart(ended: PlacementFacts) -> None:
    for restarts, outcome in ((0, None), (1, S.FAILED), (2, S.FAILED)):
        action = plan(facts(S.RUNNING, ended, restarts=restarts))
        assert isinstance(action, EndPlacement) and action.outcome is outcome


def test_migrating() -> None:
    given_up_at = NOON + timedelta(seconds=30.1) + STOP_ALLOWANCE
    moving = facts(S.MIGRATING, placement(state=PlacementState.STOPPING), target=RESERVED)
    assert plan(moving) == Wait(None, given_up_at)
    assert plan(replace(moving, runs_out_at=LATER)) == Wait(LATER, given_up_at)
    assert plan(replace(moving, runs_out_at=NOON)) == Stop(SOURCE, "budget")
    checkpointed = replace(moving, placement=exited(75))
    assert plan(checkpointed) == Switch(SOURCE, TARGET, BEFORE)
    for without in (
        {"target": None},
        {"target": replace(RESERVED, node_lost=True)},
    ):
        action = plan(replace(checkpointed, **without))
        assert action == EndPlacement(SOURCE, R.CHECKPOINTED, BEFORE, None, "checkpointed; to be resumed")
    stopped = plan(replace(checkpointed, stop_requested="cancel"))
    assert stopped == EndPlacement(SOURCE, R.STOPPED, BEFORE, S.CANCELLED, "cancelled by its owner")
    assert plan(replace(moving, placement=exited(0))) == EndPlacement(SOURCE, R.DONE, BEFORE, S.COMPLETED, None)
    silent = replace(moving, placement=placement(ordered_wall_at=NOON - STOP_ALLOWANCE - MINUTE))
    assert plan(silent) == EndPlacement(SOURCE, R.LOST, NOON, None, "the node did not stop it in time", counts_as_restart=True)


@pytest.mark.parametrize(("why", "outcome"), [("cancel", S.CANCELLED), ("complete", S.COMPLETED), ("budget", S.FAILED)])
def test_stopping(why: str, outcome: WorkloadState) -> None:
    def stopping(current: PlacementFacts) -> Action:
        return plan(facts(S.STOPPING, current, stop_requested=why))

    assert stopping(placement()) == Wait(None, NOON + timedelta(seconds=30.1) + STOP_ALLOWANCE)
    for code, expected in ((143, outcome), (75, outcome), (1, outcome), (0, S.COMPLETED)):
        action = stopping(exited(code))
        assert isinstance(action, EndPlacement) and (action.outcome, action.counts_as_restart) == (expected, False)
    for gone in (placement(node_lost=True), placement(ordered_wall_at=NOON - STOP_ALLOWANCE - MINUTE)):
        action = stopping(gone)
        assert isinstance(action, EndPlacement) and (action.reason, action.outcome) == (R.LOST, outcome)


def test_settling_and_after() -> None:
    assert plan(facts(S.SETTLING, exited(0), outcome=S.COMPLETED)) == Settle()
    for state in (S.COMPLETED, S.FAILED, S.CANCELLED):
        assert plan(facts(state, exited(0), outcome=state, stop_requested="cancel", runs_out_at=NOON)) == Wait(None)
