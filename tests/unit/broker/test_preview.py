from datetime import timedelta
from typing import Any

from gridbroker.broker.policy import DEFAULT_POLICY
from gridbroker.broker.preview import Preview, preview
from gridbroker.grid.signal import Outlook, Quality
from tests.unit.broker.facts import NOON, node, outlook, outlooks, routed, workload

FLEET = [node("fr", "FR"), node("es", "ES", energy_kind="modelled")]


def show(grid: dict[str, Outlook], **spec: Any) -> Preview:
    asked = workload(expected_hours=2.0, **spec)
    return preview(asked, routed(asked, FLEET, grid), DEFAULT_POLICY)


def codes(plan: Preview) -> set[str]:
    return {str(warning.code) for warning in plan.warnings}


def test_it_shows_the_best_and_the_second():
    plan = show(outlooks(outlook("FR", 40), outlook("ES", 150)))
    assert plan.best is not None and plan.second is not None
    assert (plan.best.node_name, plan.second.node_name) == ("fr", "es")
    assert (plan.start_at, plan.end_at) == (NOON, NOON + timedelta(hours=2))
    assert codes(plan) == {"forecast"}


def test_it_warns_of_whatever_is_not_measured():
    grid = outlooks(outlook("FR", 400), outlook("ES", [50], quality=Quality.MODELLED, error_ratio=0.3, source="typical day"))
    plan = show(grid, checkpoint=False, budget_micro=5_000_000)
    assert codes(plan) == {"grid_modelled", "forecast", "beyond_forecast", "energy_not_measured", "budget_tight", "never_moved"}
    assert any("30%" in warning.text for warning in plan.warnings)


def test_it_warns_of_an_old_observation():
    assert "grid_outdated" in codes(show(outlooks(outlook("FR", 40, observed_at=NOON - timedelta(hours=3)))))


def test_no_place_is_said_with_its_reason():
    plan = show(outlooks(outlook("FR", 40)), max_intensity_g_per_kwh=10.0)
    assert (plan.feasible, plan.best, plan.start_at, plan.end_at) == (False, None, None, None)
    assert plan.binding is not None and plan.binding.reason == "too_dirty"
    assert plan.rejected_counts == {"too_dirty": 1, "zone_unknown": 1}
    assert codes(plan) == {"no_place"}
