"""Laws of splitting an amount: nothing lost, nobody short by a whole unit, more weight never gets less."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridbroker.core.money import format_micro, parse_micro, split

amounts = st.integers(0, 10**15)
weights = st.lists(st.integers(0, 10**9), min_size=1, max_size=12)


@given(amounts, weights)
def test_shares_sum_to_the_amount(amount: int, weights: list[int]):
    shares = split(amount, weights)
    assert sum(shares) == amount
    assert min(shares) >= 0


@given(amounts, weights)
def test_each_share_is_within_one_unit_of_its_exact_part(amount: int, weights: list[int]):
    total = sum(weights)
    for share, weight in zip(split(amount, weights), weights, strict=True):
        exact, of = (amount * weight, total) if total else (amount, len(weights))
        assert abs(share * of - exact) < of


@given(amounts, weights)
def test_more_weight_never_gets_less(amount: int, weights: list[int]):
    by_weight = sorted(zip(weights, split(amount, weights), strict=True))
    for (weight, share), (more_weight, more_share) in pairwise(by_weight):
        assert more_weight == weight or more_share >= share


@given(amounts, weights, st.integers(1, 1000))
def test_only_proportions_matter(amount: int, weights: list[int], scale: int):
    assert split(amount, [weight * scale for weight in weights]) == split(amount, weights)


@given(st.integers(0, 10**15), st.integers(0, 10_000))
def test_a_fee_and_the_rest_are_the_charge(charge: int, fee_bp: int):
    rest, fee = split(charge, [10_000 - fee_bp, fee_bp])
    assert rest + fee == charge
    assert abs(fee * 10_000 - charge * fee_bp) < 10_000


@given(st.integers(-(10**17), 10**17))
def test_money_is_written_and_read_without_loss(amount_micro: int):
    assert parse_micro(format_micro(amount_micro)) == amount_micro


@pytest.mark.parametrize(("amount", "weights"), [(-1, [1]), (1, []), (1, [1, -1])])
def test_nonsense_is_refused(amount: int, weights: list[int]):
    with pytest.raises(ValueError, match="split needs"):
        split(amount, weights)
