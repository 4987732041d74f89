"""Laws of moving: it costs something, it is never undone, and it happens for a reason that can be added up."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gridbroker.broker.migration import Assessment, RunningFacts, assess
from gridbroker.broker.policy import DEFAULT_POLICY, MoveRule, Policy
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.grid.signal import Outlook
from gridbroker.providers.node import NodeFacts
from tests.property.decisions import ZONES, fleets, grids, intensities, prices_micro, pues, shares, workloads
from tests.unit.broker.facts import CATALOGUE, NOON, node, outlook, routed, running_on

RESTLESS = replace(DEFAULT_POLICY, move=replace(DEFAULT_POLICY.move, min_dwell=timedelta(0), dwell_per_downtime=0.0))
"""Nothing but the sum keeps a workload where it is."""

sizes = st.integers(0, 50 * 10**9)
hours = st.floats(0.01, 80)


def judge(running: RunningFacts, fleet: list[NodeFacts], grid: dict[str, Outlook], policy: Policy = RESTLESS) -> Assessment:
    share = min(1.0, running.remaining_hours / running.spec.expected_hours)
    route = routed(running.spec, fleet, grid, policy, remaining_share=share)
    return assess(running, route, grid, CATALOGUE, policy, NOON)


@st.composite
def pairs(draw: st.DrawFn) -> list[NodeFacts]:
    """Two idle nodes in two zones, of any model, price and PUE."""
    return [
        node(
            zone,
            zone,
            gpu_count=4,
            gpu_model=draw(st.sampled_from(["H100", "RTX"])),
            price_micro_per_gpu_hour=draw(prices_micro),
            pue=draw(pues),
        )
        for zone in ZONES[:2]
    ]


@st.composite
def pair_grids(draw: st.DrawFn) -> dict[str, Outlook]:
    return {
        zone: outlook(zone, draw(st.lists(intensities, min_size=1, max_size=60)), renewable_share=draw(shares))
        for zone in ZONES[:2]
    }


@st.composite
def movables(draw: st.DrawFn) -> WorkloadSpec:
    """Workloads that nothing but the sum keeps in place."""
    return replace(
        draw(workloads()),
        gpu_model=None,
        vram_mib=0,
        budget_micro=10**15,
        deadline_at=None,
        allowed_zones=(),
        green_only=False,
        max_intensity_g_per_kwh=None,
        checkpoint_interval_s=draw(st.integers(0, 7200)),
    )


@given(movables(), pairs(), pair_grids(), hours, sizes)
def test_a_move_is_never_undone_under_the_same_outlook(
    spec: WorkloadSpec, pair: list[NodeFacts], grid: dict[str, Outlook], remaining_hours: float, size: int
):
    running = running_on(pair[0], spec, remaining_hours=remaining_hours, checkpoint_bytes=size)
    there = judge(running, pair, grid)
    if there.target is None or there.best is None:
        return
    slower = there.best.go.hours / there.best.stay.hours
    moved = running_on(pair[1], spec, remaining_hours=remaining_hours * slower, checkpoint_bytes=size, moves=1)
    assert judge(moved, pair, grid).target is None


@given(movables(), pairs(), pair_grids(), hours, sizes)
def test_moving_costs_something_and_only_happens_when_it_pays(
    spec: WorkloadSpec, pair: list[NodeFacts], grid: dict[str, Outlook], remaining_hours: float, size: int
):
    one = judge(running_on(pair[0], spec, remaining_hours=remaining_hours, checkpoint_bytes=size), pair, grid)
    assert one.best is not None
    cost = one.best.cost
    for part in (cost.source_held, cost.target_waiting, cost.lost_work, cost.transfer):
        assert min(part.hours, part.score_h, part.energy_mj, part.emissions_mg, part.price_micro) >= 0
    if one.target:
        assert one.alarm
        assert one.best.saving.score_h > cost.total.score_h
        assert one.best.go.emissions_mg + cost.total.emissions_mg <= one.best.stay.emissions_mg


@given(workloads(), pairs(), st.lists(intensities, min_size=1, max_size=60), hours, sizes)
def test_no_move_between_equals(spec: WorkloadSpec, pair: list[NodeFacts], series: list[float], remaining_hours: float, size: int):
    here, there = pair[0], replace(pair[0], node_id=pair[1].node_id, zone=pair[1].zone)
    grid = {zone: outlook(zone, series) for zone in ZONES[:2]}
    running = running_on(
        here, replace(spec, gpu_model=None, green_only=False), remaining_hours=remaining_hours, checkpoint_bytes=size
    )
    assert judge(running, [here, there], grid).target is None


@given(workloads(), fleets(), grids(), hours, st.integers(0, 5))
def test_a_move_keeps_every_promise(
    spec: WorkloadSpec, fleet: list[NodeFacts], grid: dict[str, Outlook], remaining_hours: float, moves: int
):
    """The choice of where to move is bound like the first choice, and by the count of moves."""
    if not fleet:
        return
    one = judge(running_on(fleet[0], spec, remaining_hours=remaining_hours, moves=moves), fleet, grid, DEFAULT_POLICY)
    if one.target is None:
        return
    assert moves < 5
    assert one.target.node_id != fleet[0].node_id
    assert not spec.allowed_zones or one.target.zone in spec.allowed_zones
    assert not spec.green_only or one.target.run.worst_intensity_g_per_kwh <= 100
    assert spec.max_intensity_g_per_kwh is None or one.target.run.mean_intensity_g_per_kwh <= spec.max_intensity_g_per_kwh
    assert one.target.run.cost_micro.expected <= spec.budget_micro


@given(pairs(), pair_grids(), movables(), hours)
def test_a_rule_that_asks_more_moves_less(
    pair: list[NodeFacts], grid: dict[str, Outlook], spec: WorkloadSpec, remaining_hours: float
):
    greedy = replace(RESTLESS, move=replace(RESTLESS.move, theta=0.0))
    running = running_on(pair[0], spec, remaining_hours=remaining_hours)
    if judge(running, pair, grid, RESTLESS).target:
        assert judge(running, pair, grid, greedy).target
    assert MoveRule().theta > 0
