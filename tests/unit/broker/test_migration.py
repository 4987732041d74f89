from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gridbroker.broker.explain import move_lines
from gridbroker.broker.migration import Assessment, MoveDecision, MoveReason, assess
from gridbroker.broker.policy import DEFAULT_POLICY, Policy
from gridbroker.core.units import energy_kwh
from gridbroker.grid.signal import Outlook
from gridbroker.providers.node import NodeFacts
from tests.unit.broker.facts import CATALOGUE, NOON, node, outlook, outlooks, routed, running_on, workload

ES, GB = node("es", "ES"), node("gb", "GB")
DIRTY_HERE = outlooks(outlook("ES", 400), outlook("GB", 100))
SPEC = workload(expected_hours=12.0)


def judge(
    grid: dict[str, Outlook],
    spec: Any = SPEC,
    nodes: tuple[NodeFacts, ...] = (ES, GB),
    policy: Policy = DEFAULT_POLICY,
    here: NodeFacts = ES,
    **changes: Any,
) -> Assessment:
    facts = running_on(here, spec, **changes)
    route = routed(spec, nodes, grid, policy, budget_micro=facts.budget_left_micro)
    return assess(facts, route, grid, CATALOGUE, policy, NOON)


def test_a_large_saving_moves():
    one = judge(DIRTY_HERE)
    assert (one.decision, one.reason, one.alarm) == (MoveDecision.MOVE, MoveReason.PAYS, True)
    assert one.target is not None and one.target.node_name == "gb"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"checkpointable": False}, "not_checkpointable"),
        ({"moves": 5}, "too_many_moves"),
        ({"started_at": NOON - timedelta(minutes=59)}, "dwelling"),
        ({"remaining_hours": 0.3}, "almost_done"),
        ({"remaining_hours": 0.5}, "does_not_pay"),
        ({"checkpoint_bytes": 10**12}, "dwelling"),  # over eight hours of downtime: four times that to stay
        ({"checkpoint_bytes": 200 * 10**9, "started_at": NOON - timedelta(days=2)}, "does_not_pay"),
        ({"budget_left_micro": 12 * 2_400_000}, "no_alternative"),  # pays for the rest, not for moving too
    ],
)
def test_what_keeps_it_where_it_is(changes: dict[str, Any], reason: str):
    one = judge(DIRTY_HERE, **changes)
    assert (one.decision, one.reason, one.target) == (MoveDecision.STAY, reason, None)


@pytest.mark.parametrize("away", [400, 390, 300])
def test_no_alarm_below_a_quarter(away: float):
    one = judge(outlooks(outlook("ES", 400), outlook("GB", away)))
    assert one.reason is MoveReason.WITHIN_THRESHOLD
    assert one.degradation is not None and one.degradation <= 0.25


def test_a_dirty_hour_that_passes_does_not_pay():
    grid = outlooks(outlook("ES", [400, *[100] * 47]), outlook("GB", 100))
    one = judge(grid)
    assert (one.alarm, one.reason) == (True, MoveReason.DOES_NOT_PAY)


def test_a_target_that_turns_dirty_does_not_pay():
    grid = outlooks(outlook("ES", 300), outlook("GB", [50, 50, 50, *[600] * 45]))
    one = judge(grid)
    assert (one.alarm, one.reason) == (True, MoveReason.WOULD_EMIT_MORE)


def test_cheaper_but_dirtier_is_refused():
    cheap = replace(GB, price_micro_per_gpu_hour=200_000)
    one = judge(outlooks(outlook("ES", 100), outlook("GB", 140)), nodes=(ES, cheap))
    assert one.best is not None and one.best.net_score_h > 0
    assert one.reason is MoveReason.WOULD_EMIT_MORE


def test_only_hours_that_are_known_can_pay():
    assert judge(outlooks(outlook("ES", [250]), outlook("GB", [120]))).reason is MoveReason.DOES_NOT_PAY
    assert judge(outlooks(outlook("ES", [250] * 48), outlook("GB", [120]))).reason is MoveReason.DOES_NOT_PAY
    assert judge(outlooks(outlook("ES", [250] * 3), outlook("GB", [120] * 3))).reason is MoveReason.PAYS


def test_no_other_node_no_alternative():
    assert judge(DIRTY_HERE, nodes=(ES,)).reason is MoveReason.NO_ALTERNATIVE


def test_an_unknown_zone_of_its_own_compares_with_nothing():
    one = judge(outlooks(outlook("GB", 100)))
    assert (one.reason, one.current_rate, one.best) == (MoveReason.PLACE_UNKNOWN, None, None)


def test_the_move_itself_must_meet_the_deadline():
    tight = replace(SPEC, deadline_at=NOON + timedelta(hours=12, minutes=10))
    assert judge(DIRTY_HERE, tight).reason is MoveReason.NO_ALTERNATIVE
    assert judge(DIRTY_HERE, replace(tight, deadline_at=NOON + timedelta(hours=13))).reason is MoveReason.PAYS


def test_the_price_of_the_lease_counts_not_that_of_the_node():
    assert judge(outlooks(outlook("ES", 100), outlook("GB", 90)), price_micro_per_gpu_hour=9_600_000).alarm


def test_a_broken_promise_moves_even_when_it_does_not_pay():
    green = workload(green_only=True, expected_hours=3.0)
    grid = outlooks(outlook("ES", [60, 60, *[101] * 46]), outlook("GB", 95))
    one = judge(grid, green)
    assert (one.decision, one.reason, one.broken) == (MoveDecision.MOVE, MoveReason.PROMISE_BROKEN, ("not_green",))
    assert judge(grid, green, moves=5).reason is MoveReason.TOO_MANY_MOVES
    stuck = judge(outlooks(outlook("ES", 101), outlook("GB", 102)), green)
    assert (stuck.decision, stuck.reason, stuck.broken) == (MoveDecision.STAY, MoveReason.NO_ALTERNATIVE, ("not_green",))


def test_a_target_must_stay_green_until_the_moved_run_ends():
    """Two hours of work end after the third hour begins, because moving takes time."""
    green = workload(green_only=True, expected_hours=2.0)
    here = outlook("ES", 101)
    assert judge(outlooks(here, outlook("GB", [60, 60, 101])), green).reason is MoveReason.NO_ALTERNATIVE
    assert judge(outlooks(here, outlook("GB", [60, 60, 60, 101])), green).reason is MoveReason.PROMISE_BROKEN


def test_no_hour_beyond_a_forecast_is_compared():
    anything = workload(gpu_model=None, expected_hours=10.0)
    slow = node("pc", "GB", gpu_model="RTX")
    one = judge(outlooks(outlook("ES", [400] * 12), outlook("GB", [100] * 12)), anything, nodes=(ES, slow))
    assert one.best is not None
    assert one.best.go.hours == pytest.approx(12)
    assert one.best.stay.hours == pytest.approx(12 * 165 / 989)


def test_the_parts_make_the_sum():
    one = judge(DIRTY_HERE, checkpoint_bytes=2 * 10**9)
    best = one.best
    assert best is not None
    cost = best.cost
    parts = (cost.source_held, cost.target_waiting, cost.lost_work, cost.transfer)
    assert cost.total.score_h == pytest.approx(sum(part.score_h for part in parts))
    assert cost.total.emissions_mg == sum(part.emissions_mg for part in parts)
    assert cost.total.price_micro == sum(part.price_micro for part in parts)
    assert best.net_score_h == pytest.approx(best.saving.score_h - cost.total.score_h - 0.15 * best.stay.score_h)
    # 2 GB twice over 1 Gb/s: 16 s each way; 0.02 kWh; EUR 0.32 of egress
    assert cost.time.downtime_h == pytest.approx((600 + 32) / 3600)
    assert energy_kwh(cost.transfer.energy_mj) == pytest.approx(0.02)
    assert cost.transfer.price_micro == 320_000
    assert cost.lost_work.hours == 0.125


def test_a_declared_checkpoint_interval_bounds_the_lost_work():
    often = replace(SPEC, checkpoint_interval_s=60)
    one = judge(DIRTY_HERE, often)
    assert one.best is not None
    assert one.best.cost.lost_work.hours == pytest.approx(30 / 3600)


def test_a_slower_target_is_compared_over_the_same_work():
    anything = workload(gpu_model=None, expected_hours=2.0)
    slow = node("pc", "GB", gpu_model="RTX", price_micro_per_gpu_hour=100_000)
    one = judge(DIRTY_HERE, anything, nodes=(ES, slow), remaining_hours=2.0)
    assert one.best is not None
    assert one.best.stay.hours == 2.0
    assert one.best.go.hours == pytest.approx(2.0 * 989 / 165)


def test_the_sum_reads_as_lines():
    lines = move_lines(judge(DIRTY_HERE))
    assert lines[0].startswith("es (ES), 12.00 h left")
    assert any(line.startswith("saving: ") for line in lines)
    assert lines[-1] == "MOVE: the saving exceeds the cost and the margin, and emissions fall (pays)"
    assert move_lines(judge(DIRTY_HERE, nodes=(ES,)))[-1] == "STAY: no other node may take it (no_alternative)"
