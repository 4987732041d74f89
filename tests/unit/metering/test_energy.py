from datetime import UTC, datetime, timedelta

from gridbroker.metering.energy import by_hour, curve_of, hour_cuts
from gridbroker.metering.sample import Reading
from gridbroker.node_agent.protocol import EnergyKind

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
MEASURED, ESTIMATED, MODELLED = EnergyKind.MEASURED, EnergyKind.ESTIMATED, EnergyKind.MODELLED


def at(second: float) -> datetime:
    return NOON + timedelta(seconds=second)


def reading(second: float, energy_mj: int, *, power_w: float = 100, boot: str = "a", kind: EnergyKind = MEASURED, seq: int = 0):
    return Reading(
        boot_id=boot,
        gpu_index=0,
        seq=seq or int(second) + 1,
        at=at(second),
        energy_mj=energy_mj,
        power_w=power_w,
        utilisation=1,
        kind=kind,
    )


def curve(*readings: Reading, reach_s: float = 60):
    return curve_of(readings, max_extrapolation_s=reach_s)


def test_inside_a_boot_the_counter_decides_not_the_power():
    metered = curve(reading(0, 1000, power_w=999), reading(10, 6000, power_w=0))
    assert metered.energy_mj(at(0), at(10)) == 5000
    assert metered.energy_mj(at(2), at(4)) == 1000
    assert metered.kind(at(0), at(10)) is MEASURED


def test_beyond_the_last_reading_its_power_goes_on_for_a_while():
    metered = curve(reading(0, 0), reading(10, 500_000, power_w=50))
    assert metered.energy_mj(at(10), at(30)) == 50 * 20 * 1000
    assert metered.energy_mj(at(10), at(1000)) == 50 * 60 * 1000
    assert metered.kind(at(5), at(30)) is ESTIMATED
    assert metered.kind(at(5), at(1000)) is MODELLED


def test_before_the_first_reading_too():
    metered = curve(reading(100, 0, power_w=20))
    assert metered.energy_mj(at(0), at(100)) == 20 * 60 * 1000
    assert metered.kind(at(90), at(100)) is ESTIMATED


def test_without_readings_there_is_no_energy_and_no_claim():
    metered = curve()
    assert metered.energy_mj(at(0), at(100)) == 0
    assert metered.kind(at(0), at(100)) is MODELLED


def test_between_boots_mean_power_is_integrated_and_flagged():
    metered = curve(
        reading(0, 0), reading(10, 7_000_000, power_w=100), reading(20, 50, power_w=300, boot="b"), reading(30, 150, boot="b")
    )
    assert metered.energy_mj(at(10), at(20)) == 200 * 10 * 1000
    assert metered.energy_mj(at(0), at(30)) == 7_000_000 + 2_000_000 + 100
    assert metered.kind(at(0), at(10)) is MEASURED
    assert metered.kind(at(15), at(16)) is ESTIMATED


def test_a_gap_between_modelled_readings_is_modelled():
    metered = curve(reading(0, 0, kind=MODELLED), reading(10, 0, boot="b", kind=MODELLED))
    assert metered.kind(at(1), at(2)) is MODELLED


def test_a_falling_counter_adds_nothing_and_takes_nothing():
    metered = curve(reading(0, 0), reading(10, 1000), reading(20, 400), reading(30, 1200))
    assert metered.energy_mj(at(10), at(20)) == 0
    assert metered.energy_mj(at(0), at(30)) == 1200


def test_a_boot_that_overlaps_an_earlier_one_counts_from_its_end():
    metered = curve(
        reading(0, 0), reading(20, 2000, power_w=0), reading(15, 10, boot="b"), reading(21, 20, power_w=0, boot="b"), reach_s=0
    )
    assert metered.energy_mj(at(0), at(21)) == 2000


def test_of_two_readings_of_one_instant_the_higher_counts():
    metered = curve(reading(0, 0, seq=1), reading(0, 5, seq=2), reading(10, 105, seq=3))
    assert metered.energy_mj(at(0), at(10)) == 100


def test_kind_is_the_weakest_touched():
    metered = curve(reading(0, 0), reading(10, 10, kind=MODELLED), reading(20, 20), reading(30, 30))
    assert metered.kind(at(20), at(30)) is MEASURED
    assert metered.kind(at(19), at(30)) is MODELLED


def test_hours_are_cut_where_the_clock_strikes():
    start, end = NOON - timedelta(minutes=20), NOON + timedelta(minutes=90)
    assert hour_cuts(start, end) == [start, NOON, NOON + timedelta(hours=1), end]
    assert hour_cuts(NOON, NOON + timedelta(hours=1)) == [NOON, NOON + timedelta(hours=1)]
    assert hour_cuts(NOON, NOON) == []


def test_energy_by_hour_names_each_part_and_sums_to_the_whole():
    metered = curve(reading(-600, 0), reading(600, 1001, kind=ESTIMATED))
    parts = by_hour(metered, at(-600), at(600))
    assert [part.energy_mj for part in parts] == [500, 501]
    assert {part.kind for part in parts} == {ESTIMATED}
