import pytest

from gridbroker.metering.estimation import BadEstimate, estimate_energy

KWH_MJ = 3_600_000_000


def estimate(**changes: float):
    return estimate_energy(**({"idle_w": 70, "tdp_w": 700, "load": 0.7, "gpu_count": 2, "hours": 10} | changes))  # type: ignore[arg-type]


def test_expected_lies_on_the_line_from_idle_to_tdp():
    assert estimate().expected_mj == round(0.511 * 2 * 10 * KWH_MJ)
    assert estimate(load=0).expected_mj == round(0.070 * 20 * KWH_MJ)
    assert estimate(load=1).expected_mj == round(0.700 * 20 * KWH_MJ)


def test_the_range_holds_the_measured_proportions():
    energy = estimate()
    assert energy.low_mj / energy.expected_mj == pytest.approx(0.54 / 0.71)
    assert energy.high_mj / energy.expected_mj == pytest.approx(0.89 / 0.71)


def test_the_range_stays_between_idle_and_tdp():
    assert estimate(load=0).low_mj == estimate(load=0).expected_mj
    assert estimate(load=1).high_mj == estimate(load=1).expected_mj


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("load", 1.1),
        ("load", float("nan")),
        ("hours", 0),
        ("hours", float("inf")),
        ("gpu_count", 0),
        ("idle_w", 800),
        ("tdp_w", -1),
    ],
)
def test_impossible_figures_are_refused(field: str, value: float):
    with pytest.raises(BadEstimate) as refused:
        estimate(**{field: value})
    assert len(refused.value.errors) == 1
