from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gridbroker.broker.compliance import RejectionReason
from gridbroker.grid.signal import Outlook
from gridbroker.providers.node import Health, NodeFacts, Tier
from tests.unit.broker.facts import NOON, node, outlook, outlooks, routed, workload

CLEAN = outlook("ES", 80)
HOUR_MICRO = 2_400_000


def reasons(spec: dict[str, Any], where: NodeFacts, grid: Outlook | None = CLEAN, **options: Any) -> tuple[RejectionReason, ...]:
    route = routed(workload(**spec), [where], outlooks(grid) if grid else {}, **options)
    return route.rejected[0].reasons if route.rejected else ()


@pytest.mark.parametrize(
    ("spec", "changes", "reason"),
    [
        ({}, {"health": Health.PENDING}, "node_not_healthy"),
        ({}, {"health": Health.LOST}, "node_lost"),
        ({}, {"health": Health.DRAINING}, "draining"),
        ({}, {"backends": ("container",)}, "backend"),
        ({}, {"gpu_model": "RTX"}, "gpu_model"),
        ({"gpu_model": "NEW"}, {"gpu_model": "NEW"}, "gpu_model"),
        ({"gpu_model": None}, {"gpu_model": "OLD"}, "gpu_model"),
        ({"vram_mib": 80 * 1024 + 1}, {}, "vram"),
        ({"gpu_count": 3}, {}, "gpu_count"),
        ({"gpu_count": 2}, {"free_gpus": (1,)}, "gpus_busy"),
        ({"allowed_zones": ("FR",)}, {}, "zone_not_allowed"),
        ({}, {"zone": "PT"}, "zone_unknown"),
        ({"max_intensity_g_per_kwh": 79.9}, {}, "too_dirty"),
        ({"budget_micro": HOUR_MICRO - 1}, {}, "over_budget"),
        ({"deadline_at": NOON + timedelta(minutes=61)}, {}, "too_late"),
    ],
)
def test_each_gate_has_its_name(spec: dict[str, Any], changes: dict[str, Any], reason: str):
    assert reasons(spec, replace(node("es", "ES"), **changes)) == (reason,)


@pytest.mark.parametrize(
    "spec",
    [
        {"vram_mib": 80 * 1024},
        {"gpu_count": 2},
        {"allowed_zones": ("FR", "ES")},
        {"max_intensity_g_per_kwh": 80.0},
        {"budget_micro": HOUR_MICRO},
        {"deadline_at": NOON + timedelta(minutes=62)},
        {"green_only": True},
    ],
)
def test_each_gate_opens_at_its_limit(spec: dict[str, Any]):
    assert reasons(spec, node("es", "ES")) == ()


def test_all_reasons_are_told():
    spec = {"budget_micro": 1, "vram_mib": 10**6, "allowed_zones": ("FR",), "deadline_at": NOON}
    assert set(reasons(spec, node("es", "ES", health=Health.LOST))) == {
        "node_lost",
        "vram",
        "zone_not_allowed",
        "over_budget",
        "too_late",
    }


def test_green_only_looks_at_every_planned_hour():
    turning = outlook("ES", [60, 60, 60, 101, 60, 60])
    assert reasons({"green_only": True, "expected_hours": 3.0}, node("es", "ES"), turning) == ()
    assert reasons({"green_only": True, "expected_hours": 3.1}, node("es", "ES"), turning) == ("not_green",)
    assert reasons({"green_only": False, "expected_hours": 6.0}, node("es", "ES"), turning) == ()


def test_the_cap_is_on_the_planned_mean():
    turning = outlook("ES", [50, 150])
    assert reasons({"max_intensity_g_per_kwh": 100.0, "expected_hours": 2.0}, node("es", "ES"), turning) == ()
    assert reasons({"max_intensity_g_per_kwh": 99.0, "expected_hours": 2.0}, node("es", "ES"), turning) == ("too_dirty",)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.51, ()), (0.5, ("tier_grid_not_renewable",)), (None, ("tier_grid_not_renewable",))]
)
def test_gamers_serve_on_a_mostly_renewable_grid(share: float | None, expected: tuple[str, ...]):
    grid = replace(CLEAN, renewable_share=share)
    assert reasons({}, node("pc", "ES", tier=Tier.GAMER), grid) == expected
    assert reasons({}, node("dc", "ES", tier=Tier.DATACENTER), grid) == ()


def test_a_budget_that_is_partly_spent_counts_what_is_left():
    assert reasons({"budget_micro": HOUR_MICRO}, node("es", "ES"), budget_micro=HOUR_MICRO - 1) == ("over_budget",)
    assert reasons({"budget_micro": HOUR_MICRO}, node("es", "ES"), budget_micro=HOUR_MICRO // 2, remaining_share=0.5) == ()


def test_an_outdated_outlook_is_no_outlook():
    assert reasons({}, node("es", "ES"), now=NOON + timedelta(hours=48)) == ("zone_unknown",)


def test_excluded_nodes_are_named():
    where = node("es", "ES")
    assert reasons({}, where, exclude_nodes={where.node_id}) == ("excluded",)
