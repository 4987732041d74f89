"""Who gets what of a workload's cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridbroker.settlement.division import Share, divide
from tests.unit.settlement.build import FIRST, SECOND, nothing_ran, statement


def test_cost_is_charged_fee_taken_and_the_rest_shared_by_cost():
    division = divide(statement(costs=(1_000_000, 500_000)), 2_000_000, 1500)
    assert (division.charged_micro, division.released_micro, division.fee_micro) == (1_500_000, 500_000, 225_000)
    assert division.shares == (Share(FIRST, 850_000), Share(SECOND, 425_000))


def test_nothing_ran_nothing_charged():
    division = divide(nothing_ran(), 5, 1500)
    assert (division.charged_micro, division.released_micro, division.fee_micro, division.shares) == (0, 5, 0, ())


def test_a_fee_of_everything_leaves_no_shares():
    assert divide(statement(), 2_000_000, 10_000).shares == ()


@given(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), st.integers(0, 10**13), st.integers(0, 10_000))
def test_no_money_appears_or_disappears(costs, held, fee_bp):
    division = divide(statement(costs=costs), held, fee_bp)
    assert division.charged_micro == min(sum(costs), held)
    assert division.charged_micro + division.released_micro == held
    assert division.fee_micro + sum(share.amount_micro for share in division.shares) == division.charged_micro
    assert all(share.amount_micro > 0 for share in division.shares)


@pytest.mark.parametrize(("held", "fee_bp"), [(-1, 0), (1, -1), (1, 10_001)])
def test_impossible_divisions_are_refused(held, fee_bp):
    with pytest.raises(ValueError, match="division"):
        divide(statement(), held, fee_bp)
