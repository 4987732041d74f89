"""Laws of a workload's life, for any facts whatever: only legal moves, an end within reach, and no waiting for nothing."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gridbroker.broker.plan import (
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
from gridbroker.broker.workload import ENDED, LEGAL_MOVES, PlacementState, WorkloadState, may_move
from gridbroker.core.ids import derive
from tests.unit.broker.facts import NOON, workload

S = WorkloadState
UNPLACED = (S.SUBMITTED, S.WAITING)

times = st.integers(-7200, 7200).map(lambda seconds: NOON + timedelta(seconds=seconds))
maybe_times = st.none() | times


def placements(number: int, states: st.SearchStrategy[PlacementState]) -> st.SearchStrategy[PlacementFacts]:
    return st.builds(
        PlacementFacts,
        placement_id=st.just(derive("placement", number)),
        node_id=st.just(derive("node", number)),
        number=st.just(number),
        state=states,
        node_lost=st.booleans(),
        ordered_wall_at=maybe_times,
        started_at=maybe_times,
        reported=st.sampled_from([None, "running", "exited", "refused"]),
        reported_running_at=maybe_times,
        reported_ended_at=maybe_times,
        exit_code=st.sampled_from([None, 0, 1, 75, 137, 143]),
        reason=st.sampled_from([None, "out of memory"]),
        has_commit=st.booleans(),
        last_seen_at=maybe_times,
    )


@st.composite
def workloads(draw: st.DrawFn) -> WorkloadFacts:
    """Whatever the tables can say. What the machinery guarantees: placed states have a placement, stopping ones a reason."""
    state = draw(st.sampled_from(S))
    current = placements(1, st.sampled_from(PlacementState))
    stops = ["cancel", "complete", "budget"]
    return WorkloadFacts(
        workload_id=derive("workload", 1),
        spec=workload(deadline_at=draw(maybe_times), max_restarts=draw(st.integers(0, 3)), checkpoint=draw(st.booleans())),
        state=state,
        outcome=draw(st.sampled_from(sorted(ENDED))) if state is S.SETTLING or state in ENDED else None,
        stop_requested=draw(st.sampled_from(stops) if state is S.STOPPING else st.sampled_from([None, *stops])),
        restarts=draw(st.integers(0, 5)),
        placement=draw(st.none() | current if state in UNPLACED or state is S.SETTLING or state in ENDED else current),
        target=draw(st.none() | placements(2, st.just(PlacementState.RESERVED))) if state is S.MIGRATING else None,
        runs_out_at=draw(maybe_times),
        review_due_at=draw(maybe_times),
    )


def leads_to(facts: WorkloadFacts, action: Action) -> frozenset[WorkloadState]:
    """The states in which the shell may record an action."""
    match action:
        case Wait():
            return frozenset({facts.state})
        case Route():
            return frozenset({S.WAITING, S.STARTING})
        case Review():
            return frozenset({S.RUNNING, S.MIGRATING})
        case MarkRunning():
            return frozenset({S.RUNNING})
        case Stop():
            return frozenset({S.STOPPING})
        case Switch():
            return frozenset({S.STARTING})
        case EndPlacement(outcome=outcome):
            return frozenset({S.WAITING if outcome is None else S.SETTLING})
        case Finish():
            return frozenset({S.SETTLING})
        case Settle():
            assert facts.outcome is not None
            return frozenset({facts.outcome})


@given(workloads(), times, times)
def test_only_legal_moves_are_proposed(facts: WorkloadFacts, now: datetime, wall: datetime) -> None:
    action = next_action(facts, now=now, wall=wall)
    for target in leads_to(facts, action):
        assert may_move(facts.state, target), f"{facts.state} -> {target} by {action}"


@given(workloads(), times, times)
def test_the_end_is_the_end(facts: WorkloadFacts, now: datetime, wall: datetime) -> None:
    action = next_action(facts, now=now, wall=wall)
    assert (facts.state in ENDED) == (action == Wait(None) and facts.state in ENDED)
    assert (facts.state is S.SETTLING) == (action == Settle())


@given(workloads(), times, times)
def test_nobody_waits_for_what_is_past(facts: WorkloadFacts, now: datetime, wall: datetime) -> None:
    """Else a row would be due at once, for ever."""
    action = next_action(facts, now=now, wall=wall)
    if isinstance(action, Wait):
        assert action.until is None or action.until > now
        assert action.until_wall is None or action.until_wall > wall


@given(workloads(), times, times)
def test_what_ended_is_never_waited_for(facts: WorkloadFacts, now: datetime, wall: datetime) -> None:
    """News of a program's end, or of its node's, always leads on."""
    placed = facts.placement is not None and facts.state in (S.STARTING, S.RUNNING, S.MIGRATING, S.STOPPING)
    if placed and (facts.placement.node_lost or facts.placement.reported in ("exited", "refused")):
        assert isinstance(next_action(facts, now=now, wall=wall), EndPlacement | Switch)


@given(workloads(), times, times)
def test_whoever_asked_for_a_stop_gets_it(facts: WorkloadFacts, now: datetime, wall: datetime) -> None:
    """A stop is never answered with another place, a move, or a restart."""
    action = next_action(facts, now=now, wall=wall)
    if facts.stop_requested is not None and facts.state not in (S.SETTLING, *ENDED):
        assert not isinstance(action, Route | Review | Switch | MarkRunning)
        assert not (isinstance(action, EndPlacement) and action.outcome is None), action


@given(workloads(), times, times)
def test_restarts_are_bounded(facts: WorkloadFacts, now: datetime, wall: datetime) -> None:
    action = next_action(facts, now=now, wall=wall)
    if isinstance(action, EndPlacement) and action.counts_as_restart and action.outcome is None:
        assert facts.restarts < facts.spec.max_restarts


def test_every_state_can_end_and_none_is_out_of_reach() -> None:
    assert set(LEGAL_MOVES) == set(S)
    for state in S:
        assert _reach(state) & ENDED
    assert _reach(S.SUBMITTED) == set(S)
    assert all(not LEGAL_MOVES[state] for state in ENDED)
    assert LEGAL_MOVES[S.SETTLING] == ENDED, "money is settled before anything has ended"
    assert {state for state in S if LEGAL_MOVES[state] & ENDED} == {S.SETTLING}, "and there is no other way"


def _reach(start: WorkloadState) -> set[WorkloadState]:
    seen = {start}
    while more := {target for state in seen for target in LEGAL_MOVES[state]} - seen:
        seen |= more
    return seen
