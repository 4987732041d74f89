"""Laws of routing: one set of facts, one route."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gridbroker.broker.compliance import RejectionReason
from gridbroker.broker.policy import Policy
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.grid.signal import Outlook
from gridbroker.providers.node import NodeFacts
from tests.property.decisions import fleets, grids, policies, workloads
from tests.unit.broker.facts import PLENTY_MICRO, routed


@given(workloads(), fleets(), grids(), policies, st.randoms(use_true_random=False))
def test_the_order_of_nodes_does_not_matter(
    spec: WorkloadSpec, fleet: list[NodeFacts], grid: dict[str, Outlook], policy: Policy, random: Random
):
    shuffled = random.sample(fleet, len(fleet))
    backwards = dict(reversed(grid.items()))
    assert routed(spec, fleet, grid, policy) == routed(spec, shuffled, backwards, policy)


@given(workloads(), fleets(), grids(), policies)
def test_candidates_are_ranked(spec: WorkloadSpec, fleet: list[NodeFacts], grid: dict[str, Outlook], policy: Policy):
    candidates = routed(spec, fleet, grid, policy).candidates
    if policy.tier_policy == "strict":
        keys = [(one.tier, one.score.total) for one in candidates]
    else:
        keys = [(0, one.score.total) for one in candidates]
    assert keys == sorted(keys)


@given(workloads(), fleets(), grids())
def test_ranges_hold_their_expected_value(spec: WorkloadSpec, fleet: list[NodeFacts], grid: dict[str, Outlook]):
    for one in routed(spec, fleet, grid).candidates:
        for part in (one.run.hours, one.run.energy_mj, one.run.emissions_mg, one.run.cost_micro):
            assert 0 <= part.low <= part.expected <= part.high
        assert one.run.cost_micro.high <= max(spec.budget_micro, one.run.cost_micro.expected)


@given(workloads(), fleets(), grids())
def test_lifting_the_binding_constraint_changes_the_choice(spec: WorkloadSpec, fleet: list[NodeFacts], grid: dict[str, Outlook]):
    """Where the owner can lift it, lifting it leads to a better place, or to one at all."""
    route = routed(spec, fleet, grid)
    lifted = {
        RejectionReason.NOT_GREEN: replace(spec, green_only=False),
        RejectionReason.TOO_DIRTY: replace(spec, max_intensity_g_per_kwh=None),
        RejectionReason.ZONE_NOT_ALLOWED: replace(spec, allowed_zones=()),
        RejectionReason.OVER_BUDGET: replace(spec, budget_micro=PLENTY_MICRO),
        RejectionReason.TOO_LATE: replace(spec, deadline_at=None),
    }
    if route.binding and route.binding.reason in lifted:
        again = routed(lifted[route.binding.reason], fleet, grid).chosen
        assert again is not None
        assert route.chosen is None or (again.tier, again.score.total) <= (route.chosen.tier, route.chosen.score.total)
        assert route.chosen is None or again.node_id != route.chosen.node_id
