"""A charge: money that a customer owes, through a card (a top-up) or from the wallet (a settled workload)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from gridbroker.settlement.outcome import Outcome, Verdict, retry_in_s


class Method(StrEnum):
    CARD = "card"
    WALLET = "wallet"


class ChargeState(StrEnum):
    DUE = "due"
    PAID = "paid"
    DECLINED = "declined"


LEGAL_MOVES: dict[ChargeState, frozenset[ChargeState]] = {
    ChargeState.DUE: frozenset({ChargeState.PAID, ChargeState.DECLINED}),
    ChargeState.PAID: frozenset(),
    ChargeState.DECLINED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    charge_id: UUID
    org_id: UUID
    method: Method
    state: ChargeState
    amount_micro: int
    currency: str
    workload_id: UUID | None = None
    payment_method: str | None = None
    external_id: str | None = None
    state_reason: str | None = None
    created_at: datetime
    ended_at: datetime | None = None


class Action(StrEnum):
    CHARGE_CARD = "charge_card"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Step:
    """What to record: the state, why, and in how many seconds to look again (None: it is over)."""

    state: ChargeState
    due_in_s: float | None
    reason: str | None


def next_action(charge: Charge) -> Action:
    if charge.state is ChargeState.DUE and charge.method is Method.CARD:
        return Action.CHARGE_CARD
    return Action.NOTHING


def after(charge: Charge, outcome: Outcome, attempts: int) -> Step:
    """The step that follows from what the card rail said; unless that is definite the charge stays due, for another try."""
    match outcome.verdict:
        case Verdict.CONFIRMED:
            return Step(ChargeState.PAID, None, None)
        case Verdict.DECLINED:
            return Step(ChargeState.DECLINED, None, outcome.reason)
        case Verdict.ACCEPTED | Verdict.UNKNOWN:
            return Step(charge.state, retry_in_s(attempts), outcome.reason)
