"""What must hold after every tick of a market that lives by the broker's decisions."""

from collections import Counter
from functools import cache

import pytest

from gridbroker.broker.workload import MAX_MOVES
from gridbroker.providers.node import Health
from tests.simulation.market import POLICY, Life, Market

SEEDS = (3, 11, 13)
HOURS = 30


@cache
def lived(seed: int) -> Market:
    return live(seed, HOURS)


def live(seed: int, hours: int) -> Market:
    market = Market(seed, hours=hours)
    for _ in range(market.ticks):
        market.tick()
        check(market)
    return market


def check(market: Market) -> None:
    assert all(count == 1 for count in market.taken().values()), "a GPU is leased twice"
    for life in market.lives:
        check_promises(market, life)


def check_promises(market: Market, life: Life) -> None:
    spec = life.spec
    assert life.moves <= MAX_MOVES
    assert life.spent_micro <= spec.budget_micro
    for held in life.held:
        candidate = held.candidate
        assert market.find(candidate.node_id).health is not Health.LOST
        assert not spec.allowed_zones or candidate.zone in spec.allowed_zones
        assert spec.max_intensity_g_per_kwh is None or candidate.run.mean_intensity_g_per_kwh <= spec.max_intensity_g_per_kwh
        assert candidate.run.cost_micro.expected <= spec.budget_micro
    if spec.green_only and life.here and life.works_from <= market.now:
        assert market.weather.intensity(life.here.candidate.zone, market.now) <= POLICY.green.max_intensity_g_per_kwh


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_holds_after_every_tick(seed: int):
    market = lived(seed)
    happened = Counter(what.split()[0] for _, _, what in market.log)
    assert happened["completed"] > 10
    assert happened["moved"] > 1
    assert happened["placed"] >= happened["completed"]
    assert sum(life.moves for life in market.lives) == happened["moved"]


def test_the_market_meets_every_kind_of_trouble():
    """Otherwise the promises above would hold for want of a test."""
    happened: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for seed in SEEDS:
        market = lived(seed)
        happened += Counter(what.split()[0] for _, _, what in market.log)
        reasons += market.reasons
    assert {"completed", "lost", "moved", "paused"} <= set(happened)
    assert {"pays", "within_threshold", "dwelling", "does_not_pay", "would_emit_more", "no_alternative"} <= set(reasons)


def test_one_seed_one_history():
    assert live(7, hours=6).log == live(7, hours=6).log
    assert live(7, hours=6).log != live(8, hours=6).log
