"""Laws of the seasonal-naive forecast."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridbroker.grid.forecast import LEAST_ERROR_RATIO, MOST_ERROR_RATIO, Method, error_ratio, forecast

VALUES = st.floats(-500, 3000, allow_nan=False).map(lambda value: round(value, 2))
SERIES = st.lists(VALUES, min_size=1, max_size=80)
WITH_GAPS = st.lists(st.none() | VALUES, min_size=1, max_size=80)
HORIZON = st.integers(0, 60)


@given(SERIES, VALUES, HORIZON)
def test_shifting_the_past_shifts_the_forecast(history, shift, horizon_h):
    plain = forecast(history, horizon_h)
    shifted = forecast([value + shift for value in history], horizon_h)
    assert plain is not None and shifted is not None
    assert shifted.values == pytest.approx([value + shift for value in plain.values], abs=1e-6)


@given(SERIES, st.floats(0.1, 10), HORIZON)
def test_scaling_the_past_scales_the_forecast(history, factor, horizon_h):
    plain = forecast(history, horizon_h)
    scaled = forecast([value * factor for value in history], horizon_h)
    assert plain is not None and scaled is not None
    assert scaled.values == pytest.approx([value * factor for value in plain.values], abs=1e-6, rel=1e-6)


@given(st.lists(VALUES, min_size=24, max_size=24), st.integers(25, 90), HORIZON)
def test_a_series_that_repeats_daily_is_forecast_exactly(day, hours, horizon_h):
    found = forecast([day[hour % 24] for hour in range(hours)], horizon_h)
    assert found is not None and found.method is Method.SEASONAL_NAIVE
    assert found.values == tuple(day[(hours - 1 + hour) % 24] for hour in range(horizon_h + 1))


@given(st.lists(VALUES, min_size=24, max_size=24), st.data())
def test_gaps_in_a_daily_series_are_filled_exactly(day, data):
    hours = data.draw(st.integers(49, 72))
    gaps = data.draw(st.sets(st.integers(24, hours - 1), max_size=10))
    history = [None if hour in gaps else day[hour % 24] for hour in range(hours)]
    found = forecast(history, 30)
    assert found is not None
    assert found.values == tuple(day[(hours - 1 + hour) % 24] for hour in range(31))
    assert found.estimated == bool(gaps & set(range(hours - 25, hours)))


@given(WITH_GAPS, HORIZON)
def test_any_past_gives_a_whole_forecast_or_none(history, horizon_h):
    found = forecast(history, horizon_h, floor=0.0)
    if found is None:
        assert all(value is None for value in history[-25:])
        return
    assert len(found.values) == horizon_h + 1
    assert min(found.values) >= 0
    if history[-1] is not None:
        assert found.values[0] == max(0.0, history[-1])


@given(WITH_GAPS)
def test_the_error_ratio_is_positive_and_bounded(history):
    assert LEAST_ERROR_RATIO <= error_ratio(history) <= MOST_ERROR_RATIO
