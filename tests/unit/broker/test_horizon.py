from datetime import timedelta

import pytest

from gridbroker.broker.horizon import forecast_hours, usable, window
from tests.unit.broker.facts import NOON, outlook

RAMP = outlook("ES", [100, 200, 300])


@pytest.mark.parametrize(
    ("after_h", "hours", "mean", "worst"),
    [
        (0, 1, 100, 100),
        (0, 2, 150, 200),
        (0.5, 1, 150, 200),
        (0.5, 0.5, 100, 100),
        (0, 3, 200, 300),
        (0, 6, 200, 300),  # three hours more of the mean of the last day, 200
        (0, 0, 100, 100),
        (2, 1, 300, 300),
        (5, 1, 200, 300),
    ],
)
def test_a_window_is_weighted_by_time(after_h: float, hours: float, mean: float, worst: float):
    over = window(RAMP, NOON + timedelta(hours=after_h), hours)
    assert over.intensity_g_per_kwh == pytest.approx(mean)
    assert over.worst_intensity_g_per_kwh == worst


def test_only_the_last_day_continues_a_forecast():
    long = outlook("ES", [1000] * 24 + [100] * 24)
    assert window(long, NOON + timedelta(hours=48), 5).intensity_g_per_kwh == 100
    assert window(long, NOON, 96).intensity_g_per_kwh == pytest.approx((24 * 1000 + 72 * 100) / 96)
    assert window(long, NOON, 96).beyond_forecast
    assert not window(long, NOON, 48).beyond_forecast


def test_an_outlook_is_usable_within_its_hours():
    assert usable(RAMP, NOON)
    assert usable(RAMP, NOON + timedelta(hours=2, minutes=59))
    assert not usable(RAMP, NOON + timedelta(hours=3))
    assert not usable(RAMP, NOON - timedelta(seconds=1))
    assert not usable(outlook("ES", []), NOON)
    assert not usable(None, NOON)


def test_reach_shrinks_with_time():
    assert forecast_hours(RAMP, NOON + timedelta(minutes=30)) == 2.5
    assert forecast_hours(RAMP, NOON + timedelta(hours=9)) == 0


def test_prices_may_be_unknown_or_negative():
    assert window(outlook("ES", 100, price_eur_per_mwh=()), NOON, 2).price_eur_per_mwh is None
    assert window(outlook("ES", [100, 100], price_eur_per_mwh=(-40.0, 20.0)), NOON, 2).price_eur_per_mwh == -10
