import pytest

from gridbroker.grid.forecast import DEFAULT_ERROR_RATIO, Method, error_ratio, forecast

RAMP: list[float | None] = [float(hour) for hour in range(24)]


def test_the_rule_by_hand():
    history = [*RAMP, 10.0]
    found = forecast(history, 26)
    assert found is not None
    assert found.method is Method.SEASONAL_NAIVE and not found.estimated and found.lag_h == 0
    anomaly = 10.0 - 0.0
    assert found.values[0] == 10.0
    assert found.values[1] == pytest.approx(1.0 + 0.9 * anomaly)
    assert found.values[5] == pytest.approx(5.0 + 0.9**5 * anomaly)
    assert found.values[24] == pytest.approx(10.0 + 0.9**24 * anomaly)
    assert found.values[25] == pytest.approx(1.0 + 0.9**25 * anomaly)
    assert len(found.values) == 27


def test_twenty_four_hours_are_too_few_for_the_rule():
    found = forecast(RAMP, 3)
    assert found is not None and found.method is Method.PERSISTENCE
    assert found.values == (23.0,) * 4


@pytest.mark.parametrize("history", [[], [None], [None] * 50, [1.0] + [None] * 25])
def test_nothing_recent_gives_no_forecast(history):
    assert forecast(history, 4) is None


def test_an_observation_a_day_old_still_counts():
    found = forecast([*RAMP, *RAMP] + [None] * 24, 0)
    assert found is not None and found.lag_h == 24 and found.estimated
    assert found.values == (23.0,)


def test_late_observations_make_the_current_hour_an_estimate():
    found = forecast([*RAMP, *RAMP, None, None], 2)
    assert found is not None and found.estimated and found.lag_h == 2
    assert found.values == (1.0, 2.0, 3.0)


def test_a_gap_takes_the_same_hour_a_day_before_and_says_so():
    history = [*RAMP, *RAMP]
    history[30] = None
    found = forecast(history, 12)
    assert found is not None and found.estimated
    assert found.values[7] == 6.0


def test_a_gap_older_than_the_pattern_does_not_matter():
    history = [*RAMP, *RAMP, *RAMP]
    history[30] = None
    found = forecast(history, 12)
    assert found is not None and not found.estimated


def test_a_gap_on_the_first_day_takes_the_hour_before():
    found = forecast([5.0, None, 7.0, *RAMP[3:], 5.0], 1)
    assert found is not None and found.estimated
    assert found.values[1] == 5.0


def test_intensities_stop_at_zero_and_prices_do_not():
    history: list[float | None] = [100.0] + [1.0] * 23 + [0.0]
    assert forecast(history, 1, floor=0.0).values[1] == 0.0  # type: ignore[union-attr]
    assert forecast(history, 1).values[1] == pytest.approx(1.0 - 90.0)  # type: ignore[union-attr]


def test_the_error_is_measured_where_it_can_be():
    assert error_ratio([]) == error_ratio([None]) == error_ratio([3.0]) == DEFAULT_ERROR_RATIO
    assert error_ratio([0.0] * 60) == DEFAULT_ERROR_RATIO
    assert error_ratio([*RAMP, *RAMP, *RAMP]) == 0.01
    alternating = [100.0 if day % 2 else 50.0 for day in range(4) for _ in range(24)]
    assert 0.2 < error_ratio(alternating) < 1


def test_a_filled_hour_is_not_counted_as_an_observation():
    steady: list[float | None] = [50.0] * 80
    shaken = [100.0 if hour % 7 == 0 else 50.0 for hour in range(80)]
    gaps = [None if hour % 7 == 0 else 50.0 for hour in range(80)]
    assert error_ratio(gaps[1:]) == error_ratio(steady) == 0.01 < error_ratio(shaken)
