from datetime import UTC, datetime, timedelta

from gridbroker.pricing.rating import Usage, charge_micro, cost_of, rate, runs_out_at, usage

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
HOUR_MS = 3_600_000


def test_a_charge_is_rounded_up_once():
    assert charge_micro(HOUR_MS, 2, 2_400_000) == 4_800_000
    assert charge_micro(1, 1, 1) == 1
    assert charge_micro(0, 8, 2_400_000) == 0


def test_time_counts_in_whole_milliseconds_and_never_backwards():
    assert usage(NOON, NOON + timedelta(microseconds=1999), 1, 5).duration_ms == 1
    assert usage(NOON, NOON - timedelta(hours=1), 1, 5).duration_ms == 0


def test_the_hold_cuts_the_last_charges():
    used = [Usage(duration_ms=HOUR_MS, gpu_count=1, price_micro_per_gpu_hour=100) for _ in range(3)]
    assert rate(used) == (100, 100, 100)
    assert rate(used, cap_micro=150) == (100, 50, 0)
    assert cost_of(used, cap_micro=150) == 150


def test_a_hold_runs_out_when_its_charge_reaches_it():
    at = runs_out_at(hold_micro=300, spent_micro=100, started_at=NOON, gpu_count=2, price_micro_per_gpu_hour=100)
    assert at == NOON + timedelta(hours=1)


def test_an_overdrawn_hold_ran_out_at_the_start():
    assert runs_out_at(hold_micro=1, spent_micro=5, started_at=NOON, gpu_count=1, price_micro_per_gpu_hour=1) == NOON


def test_what_is_free_or_lasts_ten_years_does_not_run_out():
    assert runs_out_at(hold_micro=0, spent_micro=0, started_at=NOON, gpu_count=1, price_micro_per_gpu_hour=0) is None
    assert runs_out_at(hold_micro=10**12, spent_micro=0, started_at=NOON, gpu_count=1, price_micro_per_gpu_hour=1) is None
