"""The ledger's vocabulary: accounts, transfers, and the batches that each use case posts. Pure; the database enforces the rules.

Every transfer moves one amount from a debit to a credit account, so debits equal credits whatever happens. A wallet is what we owe
a customer: credits fill it, debits use it. A *pending* transfer reserves its amount until it is *posted* (up to that amount, the
rest is released) or *voided*, once. Nothing is ever changed or deleted; mistakes are corrected by further transfers.

| step | debit -> credit | kind |
|---|---|---|
| top-up paid | card:clearing -> wallet | single |
| hold | wallet -> escrow | pending |
| settlement | the hold, up to its amount | post or void |
| settlement | escrow -> provider payable, escrow -> revenue:platform_fee | single |
| payout sent | provider payable -> payout:clearing | pending |
| payout confirmed, or refused | that transfer | post, or void |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from gridbroker.core.errors import Conflict
from gridbroker.core.ids import derive
from gridbroker.core.money import Currency

EUR = Currency.EUR


class Kind(StrEnum):
    SINGLE = "single"
    PENDING = "pending"
    POST = "post"
    VOID = "void"


class Purpose(StrEnum):
    TOP_UP = "top_up"
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"
    SHARE = "share"
    FEE = "fee"
    PAYOUT = "payout"
    PAYOUT_CONFIRMED = "payout_confirmed"
    PAYOUT_RETURNED = "payout_returned"


@dataclass(frozen=True, slots=True)
class Account:
    code: str
    """Unique, and ends in the currency: an account holds one."""
    currency: str
    org_id: UUID | None = None
    """Whose account it is; None for the platform's own."""
    guarded: bool = False
    """Debits, pending ones included, may not exceed posted credits."""
    derived: bool = False
    """Busy account without a stored balance: it is the sum of its transfers, so that nobody queues for its row."""


def wallet(org_id: UUID, currency: str = EUR) -> Account:
    return Account(f"wallet:{org_id}:{currency}", currency, org_id, guarded=True)


def payable(org_id: UUID, currency: str = EUR) -> Account:
    """What the platform owes a provider."""
    return Account(f"provider:{org_id}:payable:{currency}", currency, org_id, guarded=True)


def platform(name: str, currency: str = EUR) -> Account:
    return Account(f"{name}:{currency}", currency, derived=True)


CARD_CLEARING = platform("card:clearing")
ESCROW = platform("escrow")
PLATFORM_FEE = platform("revenue:platform_fee")
PAYOUT_CLEARING = platform("payout:clearing")
PLATFORM_ACCOUNTS = (CARD_CLEARING, ESCROW, PLATFORM_FEE, PAYOUT_CLEARING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One immutable movement. Posts and voids name their pending transfer and take the accounts from it."""

    transfer_id: UUID
    kind: Kind
    purpose: Purpose
    reference: UUID
    """What it is for: a workload, a charge or a payout."""
    debit: str | None = None
    credit: str | None = None
    amount_micro: int = 0
    """Above 0; for a post at most the pending amount; 0 for a void."""
    pending_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Transfers that happen together or not at all. The same id with other transfers is refused."""

    batch_id: UUID
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    debits_posted: int = 0
    debits_pending: int = 0
    credits_posted: int = 0
    credits_pending: int = 0

    @property
    def posted_micro(self) -> int:
        return self.credits_posted - self.debits_posted

    @property
    def available_micro(self) -> int:
        return self.posted_micro - self.debits_pending


class LedgerRefused(Conflict):
    code, title = "ledger_refused", "The ledger does not allow this"


class BatchReused(LedgerRefused):
    code, title = "batch_reused", "These postings were made before with other contents"


class Overdrawn(LedgerRefused):
    code, title = "overdrawn", "An account does not cover this"


class AlreadyResolved(LedgerRefused):
    code, title = "already_resolved", "The hold was posted or voided before"


class NoSuchPending(LedgerRefused):
    code, title = "no_such_pending", "There is no such pending transfer"


class AbovePending(LedgerRefused):
    code, title = "above_pending", "The amount is above what was held"


class BadAccount(LedgerRefused):
    code, title = "bad_account", "An account is missing or has another currency"


def hold_id(workload_id: UUID) -> UUID:
    """The pending transfer that holds a workload's money."""
    return derive("transfer", "hold", workload_id)


def hold_batch_id(workload_id: UUID) -> UUID:
    return derive("batch", "hold", workload_id)


def hold(workload_id: UUID, org_id: UUID, amount_micro: int) -> Batch:
    transfer = Transfer(
        transfer_id=hold_id(workload_id),
        kind=Kind.PENDING,
        purpose=Purpose.HOLD,
        reference=workload_id,
        debit=wallet(org_id).code,
        credit=ESCROW.code,
        amount_micro=amount_micro,
    )
    return Batch(hold_batch_id(workload_id), (transfer,))


def settlement(workload_id: UUID, *, held: bool, fee_micro: int, shares: Sequence[tuple[UUID, int]]) -> Batch:
    """Post what the workload cost from its hold and pass it on: `shares` (provider, amount) and the platform's fee."""
    charged_micro = fee_micro + sum(amount for _, amount in shares)
    transfers = [_resolve_hold(workload_id, charged_micro)] if held else []
    transfers += [
        _from_escrow(workload_id, Purpose.SHARE, payable(provider_id).code, amount) for provider_id, amount in shares if amount
    ]
    if fee_micro:
        transfers.append(_from_escrow(workload_id, Purpose.FEE, PLATFORM_FEE.code, fee_micro))
    return Batch(derive("batch", "settlement", workload_id), tuple(transfers))


def _resolve_hold(workload_id: UUID, charged_micro: int) -> Transfer:
    return Transfer(
        transfer_id=derive("transfer", "settlement", workload_id),
        kind=Kind.POST if charged_micro else Kind.VOID,
        purpose=Purpose.CAPTURE if charged_micro else Purpose.RELEASE,
        reference=workload_id,
        amount_micro=charged_micro,
        pending_id=hold_id(workload_id),
    )


def _from_escrow(workload_id: UUID, purpose: Purpose, credit: str, amount_micro: int) -> Transfer:
    return Transfer(
        transfer_id=derive("transfer", purpose, workload_id, credit),
        kind=Kind.SINGLE,
        purpose=purpose,
        reference=workload_id,
        debit=ESCROW.code,
        credit=credit,
        amount_micro=amount_micro,
    )


def top_up(charge_id: UUID, org_id: UUID, amount_micro: int) -> Batch:
    transfer = Transfer(
        transfer_id=derive("transfer", "top_up", charge_id),
        kind=Kind.SINGLE,
        purpose=Purpose.TOP_UP,
        reference=charge_id,
        debit=CARD_CLEARING.code,
        credit=wallet(org_id).code,
        amount_micro=amount_micro,
    )
    return Batch(derive("batch", "top_up", charge_id), (transfer,))


def payout_sent(payout_id: UUID, org_id: UUID, amount_micro: int) -> Batch:
    transfer = Transfer(
        transfer_id=derive("transfer", "payout", payout_id),
        kind=Kind.PENDING,
        purpose=Purpose.PAYOUT,
        reference=payout_id,
        debit=payable(org_id).code,
        credit=PAYOUT_CLEARING.code,
        amount_micro=amount_micro,
    )
    return Batch(derive("batch", "payout_sent", payout_id), (transfer,))


def payout_confirmed(payout_id: UUID, amount_micro: int) -> Batch:
    return _payout_end(payout_id, Kind.POST, Purpose.PAYOUT_CONFIRMED, amount_micro)


def payout_returned(payout_id: UUID) -> Batch:
    return _payout_end(payout_id, Kind.VOID, Purpose.PAYOUT_RETURNED, 0)


def _payout_end(payout_id: UUID, kind: Kind, purpose: Purpose, amount_micro: int) -> Batch:
    """Confirmed and returned share one batch id: a payout ends once, whatever arrives late."""
    transfer = Transfer(
        transfer_id=derive("transfer", "payout_end", payout_id),
        kind=kind,
        purpose=purpose,
        reference=payout_id,
        amount_micro=amount_micro,
        pending_id=derive("transfer", "payout", payout_id),
    )
    return Batch(derive("batch", "payout_end", payout_id), (transfer,))
