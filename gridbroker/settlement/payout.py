"""A payout: money that goes out to a provider.

The ledger reserves the amount before the rail is called (`sent`), so that a crash in between can never pay from money that was
spent otherwise, and the same key asks the rail again for what it already did.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from gridbroker.settlement.outcome import Outcome, Verdict, retry_in_s


class PayoutState(StrEnum):
    DUE = "due"
    SENT = "sent"
    """Reserved in the ledger; the rail was or is about to be asked."""
    PAID = "paid"
    FAILED = "failed"
    """Definitely refused; the money is the provider's payable again."""


LEGAL_MOVES: dict[PayoutState, frozenset[PayoutState]] = {
    PayoutState.DUE: frozenset({PayoutState.SENT}),
    PayoutState.SENT: frozenset({PayoutState.PAID, PayoutState.FAILED}),
    PayoutState.PAID: frozenset(),
    PayoutState.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    payout_id: UUID
    org_id: UUID
    """The provider."""
    workload_id: UUID
    state: PayoutState
    amount_micro: int
    currency: str
    destination: str
    """The rail's name for where the money goes."""
    external_id: str | None = None
    state_reason: str | None = None
    created_at: datetime
    ended_at: datetime | None = None


class Action(StrEnum):
    RESERVE = "reserve"
    PAY = "pay"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Step:
    """What to record: the state, why, and in how many seconds to look again (None: it is over)."""

    state: PayoutState
    due_in_s: float | None
    reason: str | None


def next_action(payout: Payout) -> Action:
    match payout.state:
        case PayoutState.DUE:
            return Action.RESERVE
        case PayoutState.SENT:
            return Action.PAY
        case PayoutState.PAID | PayoutState.FAILED:
            return Action.NOTHING


def after(payout: Payout, outcome: Outcome, attempts: int) -> Step:
    """The step that follows from what the payout rail said; unless it is definite the payout stays sent."""
    match outcome.verdict:
        case Verdict.CONFIRMED:
            return Step(PayoutState.PAID, None, None)
        case Verdict.DECLINED:
            return Step(PayoutState.FAILED, None, outcome.reason)
        case Verdict.ACCEPTED | Verdict.UNKNOWN:
            return Step(payout.state, retry_in_s(attempts), outcome.reason)


def destination_of(org_id: UUID) -> str:
    """Where a provider is paid: the rail resolves the account that the provider connected under this name."""
    return f"provider:{org_id}"
