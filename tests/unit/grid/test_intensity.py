from datetime import UTC, datetime, timedelta

import pytest

from gridbroker.grid.intensity import SettledIntensity, settle
from gridbroker.grid.signal import Quality, Signal, SignalKind

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def told(*hours: int, quality: Quality = Quality.MEASURED):
    """A signal of 100.0004 g/kWh plus the hour's number, for each hour from noon on."""
    return {
        ("ES", NOON + hour * HOUR): Signal(
            zone="ES",
            kind=SignalKind.CARBON_INTENSITY,
            at=NOON + hour * HOUR,
            value=100.0004 + hour,
            source=f"s{hour}",
            quality=quality,
        )
        for hour in hours
    }


def test_every_hour_that_the_stretch_touches():
    settled = settle(told(0, 1, 2, 3), ["ES"], NOON + timedelta(minutes=59), NOON + 2 * HOUR + timedelta(seconds=1))
    assert {key[1] for key in settled} == {NOON, NOON + HOUR, NOON + 2 * HOUR}
    assert settled["ES", NOON + HOUR] == SettledIntensity(101_000, "s1", Quality.MEASURED)


def test_the_end_is_not_part_of_it():
    assert set(settle(told(0, 1), ["ES"], NOON, NOON + HOUR)) == {("ES", NOON)}
    assert settle(told(0, 1), ["ES"], NOON, NOON) == {}


def test_a_gap_borrows_from_the_nearest_earlier_hour_and_says_so():
    settled = settle(told(-30, -2, 0), ["ES"], NOON - HOUR, NOON + 3 * HOUR)
    assert settled["ES", NOON - HOUR] == SettledIntensity(98_000, "s-2", Quality.ESTIMATED)
    assert settled["ES", NOON].quality is Quality.MEASURED
    assert settled["ES", NOON + 2 * HOUR] == SettledIntensity(100_000, "s0", Quality.ESTIMATED)


@pytest.mark.parametrize(("age_h", "found"), [(24, True), (25, False)])
def test_a_day_is_the_limit(age_h, found):
    assert (("ES", NOON) in settle(told(-age_h), ["ES"], NOON, NOON + HOUR)) is found


def test_later_hours_lend_nothing():
    assert settle(told(1), ["ES"], NOON, NOON + HOUR) == {}


@pytest.mark.parametrize("quality", [Quality.MODELLED, Quality.FORECAST, Quality.ESTIMATED])
def test_borrowing_never_makes_a_claim_stronger(quality):
    assert settle(told(-1, quality=quality), ["ES"], NOON, NOON + HOUR)["ES", NOON].quality is quality


def test_zones_do_not_lend_to_each_other():
    assert set(settle(told(0), ["ES", "FR"], NOON, NOON + HOUR)) == {("ES", NOON)}
