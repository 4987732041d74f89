"""The kernel's values: ids, money, units, pages, clocks."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridbroker.core import units
from gridbroker.core.clock import Clock, FakeClock, SimulatedClock, SystemClock
from gridbroker.core.errors import GridbrokerError
from gridbroker.core.ids import derive, uuid7
from gridbroker.core.money import format_micro, parse_micro, split
from gridbroker.core.paging import MAX_LIMIT, BadCursor, decode_cursor, encode_cursor, page

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
moments = st.timedeltas(timedelta(0), timedelta(days=8000 * 365)).map(lambda since: EPOCH + since)
bits = st.integers(0, 2**74 - 1)
micros = st.integers(-(10**18) + 1, 10**18 - 1)


@given(moments, bits)
def test_a_uuid7_has_its_version_variant_and_exact_millisecond(at, random_bits):
    made = uuid7(at, random_bits)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == (at - EPOCH) // timedelta(milliseconds=1)


@given(moments, st.timedeltas(timedelta(milliseconds=1), timedelta(days=400)), bits, bits)
def test_later_ids_are_greater(at, later, first, second):
    assert uuid7(at, first) < uuid7(at + later, second)


@given(moments, bits, bits)
def test_different_random_bits_make_different_ids(at, first, second):
    assert (uuid7(at, first) == uuid7(at, second)) == (first == second)


def test_derived_ids_stay_what_they_were():
    """Stored rows hold them: a change here would make every effect happen again."""
    assert derive("hold", UUID(int=1)) == UUID("ebb1e10d-237f-5875-a213-0da094d54e65")
    assert derive("hold", UUID(int=1)) == derive("hold", str(UUID(int=1)))
    assert len({derive("a", 1, 2), derive("a", 2, 1), derive("b", 1, 2), derive("a", 12)}) == 4


@given(micros)
def test_money_reads_what_it_writes(amount_micro):
    text = format_micro(amount_micro)
    assert parse_micro(text) == amount_micro
    assert Fraction(text) * 10**6 == amount_micro
    assert len(text.rpartition(".")[2]) >= 2


@given(st.integers(0, 10**12 - 1), st.text("0123456789", min_size=1, max_size=20))
def test_money_is_read_exactly_or_not_at_all(whole, fraction):
    text = f"{whole}.{fraction}"
    exact = Fraction(text) * 10**6
    if exact.denominator == 1:
        assert parse_micro(text) == exact
    else:
        with pytest.raises(ValueError, match="finer"):
            parse_micro(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1e3",
        "1_000",
        "+1",
        "--1",
        "1.",
        ".5",
        " 1",
        "1 ",
        "NaN",
        "sNaN",
        "Infinity",
        "1,5",
        "\u0665",
        "1" * 13,
        "1\n",
        "1.0\0",
    ],
)
def test_no_other_form_of_number_is_money(text):
    with pytest.raises(ValueError, match="not a decimal number"):
        parse_micro(text)


def test_money_finer_than_it_can_be_is_never_rounded():
    with pytest.raises(ValueError, match="finer"):
        parse_micro("12.5000000000000000000000000000000000001")
    assert parse_micro("12.500000000000000000000000000000000000") == 12_500_000


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**9), min_size=1, max_size=12))
def test_shares_sum_and_are_within_one_of_exact(amount, weights):
    shares = split(amount, weights)
    assert sum(shares) == amount
    total = sum(weights)
    if total:
        assert all(abs(share - Fraction(amount * weight, total)) < 1 for share, weight in zip(shares, weights, strict=True))
        assert all(share == 0 for share, weight in zip(shares, weights, strict=True) if weight == 0)


@pytest.mark.parametrize(("amount", "weights"), [(-1, [1]), (1, []), (1, [-1, 2])])
def test_what_cannot_be_split(amount, weights):
    with pytest.raises(ValueError, match="non-negative"):
        split(amount, weights)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**18))
def test_divisions_round_as_they_say(numerator, denominator):
    exact = Fraction(numerator, denominator)
    up, even = units.div_ceil(numerator, denominator), units.div_half_even(numerator, denominator)
    assert up - 1 < exact <= up
    assert even == round(exact)


@given(st.integers(0, 10**15), st.integers(0, 2_000_000))
def test_emissions_follow_energy_and_intensity(energy_mj, intensity_mg_per_kwh):
    exact = Fraction(energy_mj * intensity_mg_per_kwh, units.MILLIJOULES_PER_KWH)
    assert abs(units.emissions_mg(energy_mj, intensity_mg_per_kwh) - exact) <= Fraction(1, 2)


def test_energy_and_durations():
    assert units.energy_mj(1000, 3600) == units.MILLIJOULES_PER_KWH
    assert units.energy_kwh(units.MILLIJOULES_PER_KWH) == 1.0
    assert units.duration_ms(NOON, NOON + timedelta(microseconds=1999)) == 1
    assert units.duration_ms(NOON, NOON - timedelta(microseconds=1)) == -1
    assert units.hour_floor(NOON + timedelta(minutes=59, seconds=59, microseconds=9)) == NOON


@given(st.uuids())
def test_cursors_come_back(row_id):
    assert decode_cursor(encode_cursor(row_id)) == row_id
    assert decode_cursor(None) is None


@given(st.text(max_size=30))
def test_a_cursor_is_one_of_ours_or_refused(text):
    try:
        found = decode_cursor(text)
    except BadCursor as error:
        assert error.errors[0].pointer == "/cursor"
    else:
        assert found is not None and encode_cursor(found) == text


def test_a_valid_cursor_with_anything_added_is_refused():
    good = encode_cursor(UUID(int=7))
    for bad in (good + "!", "!" + good, good + "=", good + "\n", good[:-1] + "\u00e9", good + good):
        with pytest.raises(BadCursor):
            decode_cursor(bad)


@given(st.lists(st.uuids(), unique=True, max_size=60), st.integers(1, 10))
def test_pages_show_every_item_once_and_then_end(ids, limit):
    ordered = sorted(ids, reverse=True)
    seen: list[UUID] = []
    before: UUID | None = None
    for _ in range(len(ids) + 1):
        rest = [one for one in ordered if before is None or one < before]
        shown = page(rest[: limit + 1], limit, lambda one: one)
        assert len(shown.data) <= limit
        seen += shown.data
        if shown.next_cursor is None:
            break
        before = decode_cursor(shown.next_cursor)
    assert seen == ordered
    assert MAX_LIMIT == 200


@pytest.mark.parametrize("clock", [SystemClock(), SimulatedClock(NOON, NOON, 60), FakeClock(NOON)])
def test_clocks_are_clocks_with_aware_times(clock):
    assert isinstance(clock, Clock)
    assert clock.now().tzinfo is not None and clock.wall().tzinfo is not None
    assert clock.new_id().version == 7 and len({clock.new_id() for _ in range(200)}) == 200


def test_simulated_time_runs_faster_from_its_epoch():
    clock = SimulatedClock(SystemClock().wall(), NOON, 3600)
    wall, now = clock.wall(), clock.now()
    assert now >= NOON
    assert now - NOON == pytest.approx((clock.wall() - clock.wall_epoch) * 3600, abs=timedelta(hours=1))
    assert clock.new_id().int >> 80 >= int(wall.timestamp() * 1000) - 1, "ids follow the wall, so that they sort beside real ones"


def test_a_fake_clock_stands_until_told_and_repeats_itself():
    one, two = FakeClock(NOON), FakeClock(NOON)
    assert [one.new_id() for _ in range(5)] == [two.new_id() for _ in range(5)]
    assert one.now() == one.now() == NOON
    one.advance(timedelta(hours=1))
    assert one.now() == one.wall() == NOON + timedelta(hours=1)


def test_an_error_counts_its_reasons_in_its_text():
    assert str(GridbrokerError("No place.", reasons={"vram": 3, "price": 1})) == "No place. (vram: 3, price: 1)"
    assert str(GridbrokerError("No place.")) == "No place."
