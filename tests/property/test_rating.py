"""Laws of rating: more use never costs less, splitting a run costs at most a micro-unit per cut, a hold is never exceeded."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gridbroker.core.units import duration_ms
from gridbroker.pricing.rating import Usage, charge_micro, cost_of, rate, runs_out_at

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)

durations = st.integers(0, 10**10)
gpus = st.integers(1, 64)
prices = st.integers(0, 10**8)
holds = st.integers(0, 10**12)
usages = st.builds(Usage, duration_ms=durations, gpu_count=gpus, price_micro_per_gpu_hour=prices)


@given(durations, durations, gpus, prices)
def test_more_time_never_costs_less(one_ms: int, more_ms: int, gpu_count: int, price: int):
    assert charge_micro(one_ms, gpu_count, price) <= charge_micro(one_ms + more_ms, gpu_count, price)


@given(st.lists(durations, min_size=1, max_size=6), gpus, prices)
def test_a_split_costs_at_most_one_micro_per_cut(parts_ms: list[int], gpu_count: int, price: int):
    whole = charge_micro(sum(parts_ms), gpu_count, price)
    split = sum(charge_micro(part_ms, gpu_count, price) for part_ms in parts_ms)
    assert whole <= split <= whole + len(parts_ms) - 1


@given(st.lists(usages, max_size=6), holds)
def test_the_hold_is_never_exceeded_and_fully_used_before_anything_is_cut(used: list[Usage], hold_micro: int):
    charges = rate(used, cap_micro=hold_micro)
    assert sum(charges) == cost_of(used, hold_micro) == min(hold_micro, cost_of(used))
    assert all(0 <= cut <= full for cut, full in zip(charges, rate(used), strict=True))


@given(st.lists(usages, min_size=1, max_size=5), holds)
def test_a_charge_once_made_is_not_changed_by_later_use(used: list[Usage], hold_micro: int):
    assert rate(used, hold_micro)[:-1] == rate(used[:-1], hold_micro)


@given(holds, holds, gpus, st.integers(1, 10**8))
def test_a_hold_lasts_to_the_millisecond(hold_micro: int, spent_micro: int, gpu_count: int, price: int):
    at = runs_out_at(
        hold_micro=hold_micro, spent_micro=spent_micro, started_at=NOON, gpu_count=gpu_count, price_micro_per_gpu_hour=price
    )
    if at is None:
        ten_years_ms = duration_ms(NOON, NOON + timedelta(days=3650))
        assert spent_micro + charge_micro(ten_years_ms, gpu_count, price) <= hold_micro
    else:
        lasts_ms = duration_ms(NOON, at)
        left_micro = max(0, hold_micro - spent_micro)
        assert charge_micro(lasts_ms, gpu_count, price) <= left_micro < charge_micro(lasts_ms + 1, gpu_count, price)
