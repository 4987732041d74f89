"""Laws of compliance: whatever the market, no promise is broken by the choice."""

from math import ceil

from hypothesis import given

from gridbroker.broker.policy import DEFAULT_POLICY, Policy
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.grid.signal import Outlook
from gridbroker.providers.node import Health, NodeFacts, Tier
from tests.property.decisions import fleets, grids, policies, workloads
from tests.unit.broker.facts import CATALOGUE, NOON, routed


@given(workloads(), fleets(), grids(), policies)
def test_every_node_is_a_candidate_or_has_a_reason(
    spec: WorkloadSpec, fleet: list[NodeFacts], grid: dict[str, Outlook], policy: Policy
):
    route = routed(spec, fleet, grid, policy)
    candidates = {one.node_id for one in route.candidates}
    rejected = {one.node_id for one in route.rejected}
    assert candidates | rejected == {node.node_id for node in fleet}
    assert not candidates & rejected
    assert all(one.reasons for one in route.rejected)
    assert candidates == {one.node_id for one in route.feasible_nodes}
    assert sum(route.rejected_counts.values()) == sum(len(one.reasons) for one in route.rejected)


@given(workloads(), fleets(), grids())
def test_what_is_chosen_keeps_every_promise(spec: WorkloadSpec, fleet: list[NodeFacts], grid: dict[str, Outlook]):
    """Checked against the facts, not against the gates."""
    by_id = {node.node_id: node for node in fleet}
    for one in routed(spec, fleet, grid).candidates:
        node, outlook, model = by_id[one.node_id], grid[one.zone], CATALOGUE[one.gpu_model]
        assert node.health is Health.HEALTHY
        assert spec.gpu_model in {None, node.gpu_model}
        assert model.vram_mib >= spec.vram_mib
        assert len(set(one.gpu_indices)) == spec.gpu_count and set(one.gpu_indices) <= set(node.free_gpus)
        assert not spec.allowed_zones or node.zone in spec.allowed_zones
        assert one.run.cost_micro.expected <= spec.budget_micro
        assert spec.deadline_at is None or one.run.hours.expected <= (spec.deadline_at - NOON).total_seconds() / 3600
        if node.tier is Tier.GAMER:
            assert outlook.renewable_share is not None and outlook.renewable_share > 0.5
        if spec.green_only:
            met = outlook.intensity_g_per_kwh[: ceil(one.run.hours.expected)]
            assert max(met) <= DEFAULT_POLICY.green.max_intensity_g_per_kwh
        if spec.max_intensity_g_per_kwh is not None:
            assert one.run.mean_intensity_g_per_kwh <= spec.max_intensity_g_per_kwh
