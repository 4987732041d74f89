from dataclasses import replace

import msgspec

from gridbroker.broker.packing import pick
from gridbroker.broker.policy import DEFAULT_POLICY, TierPolicy
from gridbroker.broker.routing import Route
from gridbroker.providers.node import Tier
from tests.unit.broker.facts import NOON, node, outlook, outlooks, routed, workload

GRID = outlooks(outlook("FR", 40), outlook("DE", 350), outlook("ES", 150))
FLEET = [node("fr", "FR"), node("de", "DE"), node("es", "ES")]


def names(route: Route) -> list[str]:
    return [candidate.node_name for candidate in route.candidates]


def test_the_cleanest_of_equals_wins():
    assert names(routed(workload(), FLEET, GRID)) == ["fr", "es", "de"]


def test_price_can_outweigh_carbon():
    cheap = replace(FLEET[1], price_micro_per_gpu_hour=200_000)
    dear = replace(FLEET[0], price_micro_per_gpu_hour=9_600_000)
    assert names(routed(workload(), [dear, cheap], GRID)) == ["de", "fr"]


def test_strict_tiers_come_before_the_score_and_handicaps_do_not():
    recycler = replace(FLEET[1], tier=Tier.RECYCLER)
    gamer = replace(FLEET[0], tier=Tier.GAMER)
    nodes = [gamer, recycler, FLEET[2]]
    assert names(routed(workload(), nodes, GRID)) == ["de", "es", "fr"]
    by_score = replace(DEFAULT_POLICY, tier_policy=TierPolicy.HANDICAP)
    route = routed(workload(), nodes, GRID, by_score)
    assert names(route) == ["fr", "es", "de"]
    assert [candidate.score.handicap for candidate in route.candidates] == [0.10, 0.05, 0.0]
    assert all(one.score.total == round(one.score.carbon + one.score.price + one.score.handicap, 6) for one in route.candidates)


def test_the_lowest_free_gpus_are_picked():
    chosen = routed(workload(gpu_count=2), [node("fr", "FR", gpu_count=8, free_gpus=(7, 2, 5))], GRID).chosen
    assert chosen is not None
    assert chosen.gpu_indices == (2, 5)
    assert pick((1,), 2) is None


def test_rejections_are_counted_over_all_nodes_and_kept_for_the_nearest():
    busy = [node(f"busy{number}", "ES", free_gpus=()) for number in range(30)]
    hopeless = [node(f"old{number}", "XX", gpu_model="OLD", free_gpus=()) for number in range(5)]
    route = routed(workload(), [*hopeless, *busy, *FLEET], GRID)
    assert route.rejected_counts == {"gpus_busy": 35, "gpu_model": 5, "zone_unknown": 5}
    assert route.nodes_seen == 38
    assert len(route.rejected) == 20
    assert all(one.reasons == ("gpus_busy",) for one in route.rejected)
    assert {one.zone for one in route.feasible_nodes} == {"FR", "DE", "ES"}


def test_no_more_candidates_than_a_decision_keeps_but_all_feasible_nodes():
    route = routed(workload(), [node(f"n{number}", "FR") for number in range(50)], GRID)
    assert len(route.candidates) == 20
    assert len(route.feasible_nodes) == 50


def test_the_binding_constraint_is_the_one_reason_before_a_better_place():
    only_es = workload(allowed_zones=("ES", "DE"))
    route = routed(only_es, [*FLEET, node("fr-busy", "FR", free_gpus=())], GRID)
    assert route.chosen is not None and route.chosen.node_name == "es"
    assert route.binding is not None
    assert (route.binding.reason, route.binding.node_name) == ("zone_not_allowed", "fr")
    assert route.binding.score_gain is not None and route.binding.score_gain > 0


def test_nothing_binds_when_the_best_node_was_free_to_take():
    assert routed(workload(), [*FLEET, node("de-busy", "DE", free_gpus=())], GRID).binding is None


def test_what_two_reasons_hold_back_does_not_bind():
    assert routed(workload(), [node("fr", "FR", free_gpus=(), backends=()), FLEET[2]], GRID).binding is None


def test_without_a_place_the_nearest_single_reason_binds():
    route = routed(workload(budget_micro=1), FLEET, GRID)
    assert route.chosen is None
    assert route.binding is not None
    assert (route.binding.reason, route.binding.node_name, route.binding.score_gain) == ("over_budget", "fr", None)


def test_an_excluded_node_is_no_constraint():
    assert routed(workload(), FLEET, GRID, exclude_nodes={FLEET[0].node_id}).binding is None


def test_no_nodes_no_route():
    route = routed(workload(), [], GRID)
    assert (route.chosen, route.candidates, route.rejected_counts, route.binding) == (None, (), {}, None)


def test_a_stored_route_equals_the_one_planned_again():
    fleet = [*FLEET, node("lost", "PT")]
    stored = msgspec.json.encode(msgspec.to_builtins(routed(workload(allowed_zones=("ES",)), fleet, GRID), str_keys=True))
    again = routed(workload(allowed_zones=("ES",)), fleet[::-1], GRID)
    assert msgspec.json.decode(stored, type=Route) == again
    assert again.planned_at == NOON
