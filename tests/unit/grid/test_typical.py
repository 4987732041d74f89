"""The modelled day: true to the annual means that it cites, and the weather that the demonstration is told in."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gridbroker.grid.signal import SignalKind
from gridbroker.grid.typical import ANNUAL_2025, TYPICAL_DAYS, value

DAY = datetime(2026, 3, 20, tzinfo=UTC)


def intensity(zone: str, hour: int) -> float:
    return value(zone, SignalKind.CARBON_INTENSITY, DAY + timedelta(hours=hour))


def price(zone: str, hour: int) -> float:
    return value(zone, SignalKind.PRICE, DAY + timedelta(hours=hour))


def mean(function, zone: str, hours: range) -> float:
    return sum(function(zone, hour) for hour in hours) / len(hours)


@pytest.mark.parametrize("zone", ANNUAL_2025)
def test_daily_means_are_near_the_annual_ones(zone):
    day, (annual_intensity, annual_percent) = TYPICAL_DAYS[zone], ANNUAL_2025[zone]
    assert sum(day.intensity_g_per_kwh) / 24 == pytest.approx(annual_intensity, rel=0.03)
    assert sum(day.renewable_percent) / 24 == pytest.approx(annual_percent, abs=3)
    assert min(day.intensity_g_per_kwh) > 0 and max(day.renewable_percent) <= 100


def test_a_day_repeats_and_is_read_in_utc():
    assert intensity("ES", 13) == intensity("ES", 13 + 24 * 40)
    at = DAY + timedelta(hours=19, minutes=59)
    assert value("ES", SignalKind.PRICE, at) == price("ES", 19)
    assert value("ES", SignalKind.PRICE, at.astimezone(timezone(timedelta(hours=-7)))) == price("ES", 19)


def test_renewable_share_is_a_share():
    assert value("ES", SignalKind.RENEWABLE_SHARE, DAY + timedelta(hours=12)) == 0.81


def test_spain_is_the_best_place_for_the_twelve_hours_from_noon():
    run = range(12, 24)
    assert mean(intensity, "ES", run) < 0.8 * mean(intensity, "GB", run) < 0.8 * mean(intensity, "DE", run)
    assert all(intensity("ES", hour) <= 72 and price("ES", hour) <= 6 for hour in range(12, 17))


def test_in_the_evening_britain_is_better_by_far_and_stays_so():
    for hour in range(18, 24):
        assert intensity("ES", hour) > 1.5 * intensity("GB", hour)
        assert 85 <= intensity("GB", hour) <= 110
        assert price("ES", hour) > price("GB", hour)
    assert max(intensity("ES", hour) for hour in range(17)) < 1.25 * intensity("ES", 0)


def test_germany_is_dirtier_than_both_all_day():
    for hour in range(24):
        assert intensity("DE", hour) > max(intensity("ES", hour), intensity("GB", hour))
