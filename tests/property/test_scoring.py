"""Laws of the score: it knows of nothing but its own node, and is monotone in what is bad."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gridbroker.broker.policy import Policy
from gridbroker.broker.scoring import Score
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.grid.signal import Outlook
from gridbroker.providers.node import NodeFacts
from tests.property.decisions import fleets, grids, intensities, nodes, policies, prices_micro, workloads
from tests.unit.broker.facts import node, outlook, outlooks, routed, workload

OPEN = workload(gpu_model=None)


def scores(spec: WorkloadSpec, fleet: list[NodeFacts], grid: dict[str, Outlook], policy: Policy) -> dict[str, Score]:
    return {one.node_name: one.score for one in routed(spec, fleet, grid, policy).candidates}


@given(workloads(), fleets(), grids(), policies, nodes(99))
def test_no_candidate_changes_the_score_of_another(
    spec: WorkloadSpec, fleet: list[NodeFacts], grid: dict[str, Outlook], policy: Policy, newcomer: NodeFacts
):
    before = scores(spec, fleet, grid, policy)
    after = scores(spec, [*fleet, newcomer], grid, policy)
    after.pop(newcomer.name, None)
    assert list(before.items()) == list(after.items())


@given(fleets(), grids(), policies)
def test_the_terms_add_up_as_shown(fleet: list[NodeFacts], grid: dict[str, Outlook], policy: Policy):
    for score in scores(OPEN, fleet, grid, policy).values():
        shown = [Decimal(str(part)) for part in (score.carbon, score.price, score.utilisation, score.handicap)]
        assert sum(shown) == Decimal(str(score.total))


def total(intensity: float, price_micro: int, busy: int = 0) -> float:
    where = node("es", "ES", gpu_count=8, free_gpus=tuple(range(busy, 8)), price_micro_per_gpu_hour=price_micro)
    chosen = routed(workload(), [where], outlooks(outlook("ES", intensity))).chosen
    assert chosen is not None
    return chosen.score.total


@given(intensities, intensities, prices_micro, prices_micro)
def test_dirtier_dearer_or_busier_is_never_better(one: float, other: float, price: int, other_price: int):
    assert total(min(one, other), price) <= total(max(one, other), price)
    assert total(one, min(price, other_price)) <= total(one, max(price, other_price))
    assert total(one, price, busy=0) < total(one, price, busy=7)


@given(fleets(), grids(), policies, st.integers(1, 10**6))
def test_a_dominated_sham_node_changes_no_choice(fleet: list[NodeFacts], grid: dict[str, Outlook], policy: Policy, dearer: int):
    """Listing a worse twin, however bad, moves nobody."""
    route = routed(OPEN, fleet, grid, policy)
    if route.chosen is None:
        return
    twin = next(one for one in fleet if one.node_id == route.chosen.node_id)
    sham = replace(
        node("sham", twin.zone),
        **{name: getattr(twin, name) for name in ("tier", "gpu_model", "gpu_count", "free_gpus", "health")},
        pue=twin.pue * 1.5,
        price_micro_per_gpu_hour=twin.price_micro_per_gpu_hour + dearer * 1000,
    )
    assert routed(OPEN, [sham, *fleet], grid, policy).chosen == route.chosen
