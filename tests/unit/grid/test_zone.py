from zoneinfo import ZoneInfo

import pytest

from gridbroker.grid.typical import TYPICAL_DAYS
from gridbroker.grid.zone import ZONES, UnknownZone, find


def test_every_zone_has_a_real_clock_and_place():
    assert len(ZONES) == 11
    for key, zone in ZONES.items():
        assert find(key) is zone
        assert zone.key == key
        ZoneInfo(zone.time_zone)
        assert -90 <= zone.latitude <= 90 and -180 <= zone.longitude <= 180
        assert len(zone.country) == 2 and len(zone.price_currency) == 3


def test_every_zone_has_a_typical_day():
    assert set(TYPICAL_DAYS) == set(ZONES)


@pytest.mark.parametrize("key", ["", "es", "XX", "ES ", "US"])
def test_an_unknown_zone_names_the_known_ones(key):
    with pytest.raises(UnknownZone) as refused:
        find(key, "/home_zone")
    assert refused.value.status == 422
    (error,) = refused.value.errors
    assert error.pointer == "/home_zone" and "US-CAL-CISO" in error.detail
