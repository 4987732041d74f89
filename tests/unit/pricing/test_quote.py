from datetime import UTC, datetime
from uuid import UUID

from gridbroker.metering.estimation import EnergyEstimate
from gridbroker.pricing.quote import HoursRange, Range, make_quote

KWH = 3_600_000_000


def quote(hours: float = 10.0):
    return make_quote(
        quote_id=UUID(int=1),
        workload_id=UUID(int=2),
        gpu_count=2,
        hours=hours,
        price_micro_per_gpu_hour=2_400_000,
        energy=EnergyEstimate(low_mj=5 * KWH, expected_mj=10 * KWH, high_mj=12 * KWH),
        pue_milli=1200,
        intensity_mg_per_kwh=Range(100_000, 200_000, 300_000),
        hold_micro=50_000_000,
        expires_at=datetime(2026, 3, 20, 13, tzinfo=UTC),
    )


def test_time_and_cost_range_over_the_run_time():
    assert quote().gpu_hours == HoursRange(16, 20, 25)
    assert quote().cost_micro == Range(38_400_000, 48_000_000, 60_000_000)


def test_energy_ranges_over_power_and_run_time_together():
    assert quote().energy_mj == Range(4 * KWH, 10 * KWH, 15 * KWH)


def test_emissions_are_of_the_whole_site():
    assert quote().emissions_mg == Range(480_000, 2_400_000, 5_400_000)


def test_a_quote_names_its_card_and_its_assumptions():
    assert quote().rate_card_version
    assert "80 to 125 %" in quote().basis
