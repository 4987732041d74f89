"""Random markets and workloads for the laws of deciding."""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from gridbroker.broker.policy import DEFAULT_POLICY, Policy, TierPolicy
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.grid.signal import Outlook
from gridbroker.providers.node import Health, NodeFacts, Tier
from tests.unit.broker.facts import CATALOGUE, NOON, PLENTY_MICRO, node, outlook, workload

ZONES = ("BE", "DE", "ES", "FR")
intensities = st.floats(0, 900)
prices_micro = st.integers(0, 10_000_000)
pues = st.floats(1, 2)
shares = st.one_of(st.none(), st.floats(0, 1))
policies = st.sampled_from([DEFAULT_POLICY, Policy(tier_policy=TierPolicy.HANDICAP)])


def mostly(usual: object, other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Three times in four the usual value, so that several gates are rarely shut at once and markets are not empty."""
    return st.sampled_from([True, True, True, False]).flatmap(lambda is_usual: st.just(usual) if is_usual else other)


@st.composite
def grids(draw: st.DrawFn) -> dict[str, Outlook]:
    """Outlooks of most of the zones, of different lengths, some of them green throughout."""
    zones = draw(mostly(set(ZONES), st.sets(st.sampled_from(ZONES))))
    return {zone: draw(grid(zone)) for zone in sorted(zones)}


@st.composite
def grid(draw: st.DrawFn, zone: str) -> Outlook:
    levels = draw(st.sampled_from([intensities, st.floats(0, 100)]))
    return outlook(zone, draw(st.lists(levels, min_size=1, max_size=30)), renewable_share=draw(shares))


@st.composite
def nodes(draw: st.DrawFn, number: int = 0) -> NodeFacts:
    gpu_count = draw(st.integers(1, 8))
    every_gpu = set(range(gpu_count))
    return node(
        f"node{number}",
        draw(st.sampled_from(ZONES)),
        tier=draw(st.sampled_from(Tier)),
        gpu_model=draw(mostly("H100", st.sampled_from([*CATALOGUE, "UNKNOWN"]))),
        gpu_count=gpu_count,
        free_gpus=tuple(sorted(draw(mostly(every_gpu, st.sets(st.sampled_from(sorted(every_gpu))))))),
        price_micro_per_gpu_hour=draw(prices_micro),
        pue=draw(pues),
        health=draw(mostly(Health.HEALTHY, st.sampled_from(Health))),
    )


@st.composite
def fleets(draw: st.DrawFn) -> list[NodeFacts]:
    return [draw(nodes(number)) for number in range(draw(st.integers(0, 12)))]


@st.composite
def workloads(draw: st.DrawFn) -> WorkloadSpec:
    return workload(
        gpu_model=draw(mostly("H100", st.sampled_from(["RTX", None]))),
        gpu_count=draw(mostly(1, st.integers(2, 4))),
        vram_mib=draw(mostly(0, st.sampled_from([20_000, 60_000]))),
        expected_hours=draw(st.floats(0.1, 60)),
        budget_micro=draw(mostly(PLENTY_MICRO, st.sampled_from([1_000_000, 100_000_000]))),
        deadline_at=draw(mostly(None, st.integers(1, 100).map(lambda hours: NOON + timedelta(hours=hours)))),
        green_only=draw(st.booleans()),
        max_intensity_g_per_kwh=draw(mostly(None, intensities)),
        allowed_zones=draw(mostly((), st.sets(st.sampled_from(ZONES), min_size=1).map(lambda zones: tuple(sorted(zones))))),
        load=draw(st.floats(0, 1)),
    )
