from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from gridbroker.metering.footprint import (
    EnergySlice,
    FeasibleNode,
    Intensities,
    Intensity,
    IntensityMissing,
    counterfactuals,
    facility_energy_mj,
    pue_milli,
    weakest_quality,
)
from gridbroker.metering.statement import Baseline
from gridbroker.node_agent.protocol import EnergyKind

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
KWH = 3_600_000_000
HOUR = timedelta(hours=1)
NODE = UUID(int=7)


def known(**by_zone: list[int]) -> Intensities:
    """g/kWh of each zone, hour by hour from 10:00."""
    return Intensities(
        {
            (zone, NOON - 2 * HOUR + HOUR * offset): Intensity(grams * 1000, "test", "measured")
            for zone, series in by_zone.items()
            for offset, grams in enumerate(series)
        }
    )


def kwh_slice(start: datetime = NOON, end: datetime = NOON + HOUR, zone: str = "FR", pue: int = 1000, energy_mj: int = KWH):
    return EnergySlice(
        placement_id=UUID(int=1),
        node_id=NODE,
        provider_org_id=UUID(int=2),
        zone=zone,
        pue_milli=pue,
        from_at=start,
        to_at=end,
        energy_mj=energy_mj,
        kind=EnergyKind.MEASURED,
    )


def compare(intensities: Intensities, *slices: EnergySlice, actual_mg: int = 0, waited: timedelta = timedelta(), feasible=()):
    results = counterfactuals(
        slices, intensities, actual_mg=actual_mg, home_zone="DE", waited=waited, feasible=[FeasibleNode(*node) for node in feasible]
    )
    return {result.baseline: result for result in results}


def test_facility_energy_rounds_half_to_even():
    assert facility_energy_mj(1000, 1234) == 1234
    assert (facility_energy_mj(1, 1500), facility_energy_mj(3, 1500)) == (2, 4)
    assert pue_milli(1.2349) == 1235


def test_a_known_hour_is_exact():
    found = known(DE=[100, 200, 300]).find("DE", NOON)
    assert (found.mg_per_kwh, found.quality, found.exact) == (300_000, "measured", True)


def test_the_nearest_hour_stands_in_and_says_so():
    found = known(DE=[100, 200]).find("DE", NOON + 5 * HOUR)
    assert (found.mg_per_kwh, found.quality, found.exact) == (200_000, "estimated", False)


def test_of_two_equally_near_hours_the_earlier_stands_in():
    gap = Intensities({("DE", NOON - HOUR): Intensity(1, "a", "modelled"), ("DE", NOON + HOUR): Intensity(2, "b", "measured")})
    found = gap.find("DE", NOON)
    assert (found.mg_per_kwh, found.quality) == (1, "modelled")


def test_a_zone_of_which_nothing_is_known_must_wait():
    with pytest.raises(IntensityMissing) as missing:
        known(DE=[100]).find("PL", NOON)
    assert missing.value.status == 503


def test_the_home_baseline_starts_at_submission():
    home = compare(known(DE=[100, 200, 300], FR=[0, 0, 50]), kwh_slice(), actual_mg=50_000, waited=2 * HOUR)[Baseline.HOME_ZONE]
    assert (home.emissions_mg, home.avoided_mg, home.zones, home.complete) == (100_000, 50_000, ("DE",), True)


def test_a_moved_slice_that_spans_two_hours_is_shared_by_time():
    home = compare(known(DE=[100, 200, 300], FR=[0, 0, 50]), kwh_slice(), waited=timedelta(minutes=15))[Baseline.HOME_ZONE]
    assert home.emissions_mg == 200_000 // 4 + 300_000 * 3 // 4


def test_the_home_baseline_keeps_the_pue_where_the_energy_was_used():
    home = compare(known(DE=[1, 1, 100], FR=[0, 0, 0]), kwh_slice(pue=1500))[Baseline.HOME_ZONE]
    assert home.emissions_mg == 150_000


def test_avoided_is_negative_when_home_was_cleaner():
    home = compare(known(DE=[0, 0, 10], FR=[0, 0, 50]), kwh_slice(), actual_mg=50_000)[Baseline.HOME_ZONE]
    assert home.avoided_mg == -40_000


def test_uniform_counts_each_node_once_with_its_own_pue():
    feasible = [(UUID(int=1), "FR", 1000), (UUID(int=2), "FR", 1000), (UUID(int=3), "PL", 2000)]
    uniform = compare(known(DE=[0] * 3, FR=[0, 0, 50], PL=[0, 0, 700]), kwh_slice(), feasible=feasible)[Baseline.UNIFORM_FEASIBLE]
    assert (uniform.emissions_mg, uniform.zones) == (500_000, ("FR", "PL"))


def test_best_fixed_is_the_least_total_not_the_least_hour():
    slices = [kwh_slice(NOON, NOON + HOUR), kwh_slice(NOON + HOUR, NOON + 2 * HOUR)]
    feasible = [(UUID(int=1), "FR", 1000), (UUID(int=2), "SE", 1000), (UUID(int=3), "SE", 1300)]
    grid = known(DE=[0] * 4, FR=[0, 0, 10, 90], SE=[0, 0, 40, 40])
    best = compare(grid, *slices, feasible=feasible, actual_mg=80_000)[Baseline.BEST_FIXED_ZONE]
    assert (best.zones, best.emissions_mg, best.avoided_mg) == (("SE",), 80_000, 0)


def test_a_stand_in_makes_only_its_baselines_incomplete():
    feasible = [(UUID(int=1), "FR", 1000)]
    results = compare(known(DE=[0, 0, 5], FR=[1]), kwh_slice(), feasible=feasible)
    assert [result.complete for result in results.values()] == [True, False, False]


def test_where_it_ran_was_feasible():
    results = compare(known(DE=[0, 0, 5], FR=[0, 0, 50]), kwh_slice(), actual_mg=50_000)
    assert results[Baseline.UNIFORM_FEASIBLE].avoided_mg == 0
    assert results[Baseline.BEST_FIXED_ZONE].zones == ("FR",)


def test_nothing_ran_nothing_emitted():
    results = compare(Intensities({}))
    assert [(result.emissions_mg, result.avoided_mg, result.complete) for result in results.values()] == [(0, 0, True)] * 3


def test_weakest_quality():
    assert weakest_quality(["measured", "forecast", "estimated"]) == "forecast"
    assert weakest_quality(["modelled", "hearsay"]) == "hearsay"
    assert weakest_quality([]) == "none"
