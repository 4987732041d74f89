import pytest

from gridbroker.broker.policy import DEFAULT_POLICY
from gridbroker.broker.power import MIN_SHARE
from gridbroker.broker.scoring import implied_carbon_price_eur_per_t
from gridbroker.core.units import energy_kwh
from tests.unit.broker.facts import node, outlook, outlooks, routed, workload

GRID = outlooks(outlook("ES", 300))


def test_the_references_score_the_weights():
    route = routed(workload(expected_hours=5.0), [node("ref", "ES", pue=1.3)], GRID)
    assert route.chosen is not None
    score = route.chosen.score
    assert (score.carbon, score.price, score.utilisation, score.total) == (0.6, 0.3, 0.0, 0.9)


def test_busy_nodes_score_worse():
    route = routed(workload(), [node("busy", "ES", pue=1.3, gpu_count=4, free_gpus=(3,))], GRID)
    assert route.chosen is not None
    assert route.chosen.score.utilisation == 0.075


def test_a_slower_gpu_pays_for_its_hours():
    anything = workload(gpu_model=None, expected_hours=1.0)
    chosen = routed(anything, [node("pc", "ES", gpu_model="RTX", price_micro_per_gpu_hour=400_000)], GRID).chosen
    assert chosen is not None
    hours = 989 / 165
    assert chosen.run.hours.expected == pytest.approx(hours)
    assert chosen.score.price == pytest.approx(0.3 * 0.4 / 2.4 * hours, abs=1e-6)
    assert chosen.score.carbon == pytest.approx(0.6 * (20 + 0.7 * 430) * 1.2 / ((70 + 0.7 * 630) * 1.3) * hours, abs=1e-6)


def test_a_named_gpu_takes_the_hours_as_given():
    chosen = routed(workload(gpu_model="RTX", expected_hours=3.0), [node("pc", "ES", gpu_model="RTX")], GRID).chosen
    assert chosen is not None
    assert chosen.run.hours.expected == 3.0


def test_the_figures_of_a_run():
    chosen = routed(workload(expected_hours=2.0, gpu_count=2), [node("es", "ES")], GRID).chosen
    assert chosen is not None
    run = chosen.run
    kwh = 2 * 2 * 0.511
    assert energy_kwh(run.energy_mj.expected) == pytest.approx(kwh)
    assert run.emissions_mg.expected == round(kwh * 1.2 * 300 * 1000)
    assert run.cost_micro.expected == 2 * 2 * 2_400_000
    assert run.electricity_micro == round(kwh * 1.2 * 80 * 1000)
    for low, expected, high in (
        (run.hours.low, run.hours.expected, run.hours.high),
        (run.energy_mj.low, run.energy_mj.expected, run.energy_mj.high),
        (run.emissions_mg.low, run.emissions_mg.expected, run.emissions_mg.high),
        (run.cost_micro.low, run.cost_micro.expected, run.cost_micro.high),
    ):
        assert low < expected < high


def test_the_bill_cannot_pass_the_budget():
    chosen = routed(workload(expected_hours=2.0, budget_micro=5_000_000), [node("es", "ES")], GRID).chosen
    assert chosen is not None
    assert chosen.run.cost_micro.high == 5_000_000


def test_the_rest_of_a_run_scores_like_the_whole():
    spec = workload(expected_hours=10.0)
    scores = {routed(spec, [node("es", "ES")], GRID, remaining_share=share).candidates[0].score for share in (1.0, 0.5, 0.01, 0.0)}
    assert len(scores) == 1
    assert routed(spec, [node("es", "ES")], GRID, remaining_share=0.0).remaining_share == MIN_SHARE


def test_the_weights_imply_a_price_of_carbon():
    """2 M_ref / K_ref: EUR 2.40 an hour against 0.511 kW at PUE 1.3 and 300 g/kWh."""
    assert implied_carbon_price_eur_per_t(workload(gpu_count=4), DEFAULT_POLICY) == pytest.approx(2 * 2.40 / 0.000_199_29, rel=1e-3)
