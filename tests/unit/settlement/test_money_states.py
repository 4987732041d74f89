"""Charges and payouts as plain states: what is done next, and what follows from what the rail said."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from gridbroker.settlement import charge as charging
from gridbroker.settlement import payout as paying
from gridbroker.settlement import tree
from gridbroker.settlement.charge import Charge, ChargeState, Method
from gridbroker.settlement.outcome import LONGEST_RETRY_S, Outcome, Verdict, retry_in_s
from gridbroker.settlement.payout import Payout, PayoutState

AT = datetime(2026, 3, 20, tzinfo=UTC)


def _charge(state: ChargeState = ChargeState.DUE, method: Method = Method.CARD) -> Charge:
    return Charge(
        charge_id=UUID(int=1), org_id=UUID(int=2), method=method, state=state, amount_micro=5, currency="EUR", created_at=AT
    )


def _payout(state: PayoutState) -> Payout:
    return Payout(
        payout_id=UUID(int=1),
        org_id=UUID(int=2),
        workload_id=UUID(int=3),
        state=state,
        amount_micro=5,
        currency="EUR",
        destination="provider:x",
        created_at=AT,
    )


@pytest.mark.parametrize("verdict", Verdict)
def test_every_step_is_a_legal_move_or_a_retry(verdict):
    outcome = Outcome(verdict, reason="because")
    after = charging.after(_charge(), outcome, 1)
    assert after.state in charging.LEGAL_MOVES[ChargeState.DUE] or (after.state is ChargeState.DUE and after.due_in_s)
    sent = paying.after(_payout(PayoutState.SENT), outcome, 1)
    assert sent.state in paying.LEGAL_MOVES[PayoutState.SENT] or (sent.state is PayoutState.SENT and sent.due_in_s)


@pytest.mark.parametrize("verdict", [Verdict.UNKNOWN, Verdict.ACCEPTED])
@pytest.mark.parametrize("attempts", [1, 5, 10_000])
def test_not_knowing_never_counts_as_failure(verdict, attempts):
    assert charging.after(_charge(), Outcome(verdict), attempts).state is ChargeState.DUE
    assert paying.after(_payout(PayoutState.SENT), Outcome(verdict), attempts).state is PayoutState.SENT


def test_only_due_cards_are_charged():
    assert charging.next_action(_charge()) is charging.Action.CHARGE_CARD
    assert charging.next_action(_charge(method=Method.WALLET)) is charging.Action.NOTHING
    for state in (ChargeState.PAID, ChargeState.DECLINED):
        assert charging.next_action(_charge(state)) is charging.Action.NOTHING


def test_a_payout_is_reserved_before_it_is_paid():
    wanted = [paying.Action.RESERVE, paying.Action.PAY, paying.Action.NOTHING, paying.Action.NOTHING]
    assert [paying.next_action(_payout(state)) for state in PayoutState] == wanted


def test_waits_double_up_to_a_bound():
    assert [retry_in_s(attempts) for attempts in (0, 1, 2, 3, 4)] == [1, 1, 2, 4, 8]
    assert retry_in_s(10**9) == LONGEST_RETRY_S


def test_every_state_has_its_moves():
    for states, moves in (
        (ChargeState, charging.LEGAL_MOVES),
        (PayoutState, paying.LEGAL_MOVES),
        (tree.ReceiptState, tree.LEGAL_MOVES),
    ):
        assert set(moves) == set(states)
