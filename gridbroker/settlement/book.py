"""The ledger's rules as plain code: what `ledger_post` does in the database, in memory.

Two users: the audit replays every stored transfer through a Book and compares balances, and the property tests run the same random
operations against both and compare verdicts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from gridbroker.settlement.ledger import (
    AbovePending,
    Account,
    AlreadyResolved,
    BadAccount,
    Balance,
    Batch,
    BatchReused,
    Kind,
    LedgerRefused,
    NoSuchPending,
    Overdrawn,
    Transfer,
)

ZERO = Balance()


@dataclass(slots=True)
class _State:
    balances: dict[str, Balance] = field(default_factory=dict[str, Balance])
    transfers: dict[UUID, Transfer] = field(default_factory=dict[UUID, Transfer])
    resolved: set[UUID] = field(default_factory=set[UUID])
    """Pending transfers that were posted or voided."""


class Book:
    """Accounts, their balances, and what was posted to them."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self.accounts = {account.code: account for account in accounts}
        self._state = _State()
        self._batches: dict[UUID, tuple[Transfer, ...]] = {}

    def balance(self, code: str) -> Balance:
        return self._state.balances.get(code, ZERO)

    def balances(self) -> dict[str, Balance]:
        return {code: self.balance(code) for code in self.accounts}

    def post(self, batch: Batch) -> bool:
        """Apply all transfers or none. False when this very batch was posted before. Raises LedgerRefused."""
        if batch.batch_id in self._batches:
            if self._batches[batch.batch_id] != batch.transfers:
                raise BatchReused("The batch id was used before with other transfers.")
            return False
        staged = _State(dict(self._state.balances), dict(self._state.transfers), set(self._state.resolved))
        for transfer in batch.transfers:
            self._apply(staged, transfer)
        self._state, self._batches[batch.batch_id] = staged, batch.transfers
        return True

    def replay(self, transfer: Transfer) -> None:
        """Apply one transfer that the ledger says happened. Raises LedgerRefused where the rules forbid it."""
        self._apply(self._state, transfer)

    def _apply(self, state: _State, transfer: Transfer) -> None:
        if transfer.transfer_id in state.transfers:
            raise LedgerRefused("The transfer id was used before.")
        settled = transfer if transfer.pending_id is None else _resolve(state, transfer)
        debit, credit = self.accounts.get(settled.debit or ""), self.accounts.get(settled.credit or "")
        if debit is None or credit is None or debit == credit or debit.currency != credit.currency:
            raise BadAccount(f"{settled.debit} and {settled.credit} cannot take this transfer.")
        if settled.amount_micro <= 0 and settled.kind is not Kind.VOID:
            raise LedgerRefused("Amounts are above zero.")
        self._move(state, settled, debit, credit)
        state.transfers[transfer.transfer_id] = settled

    def _move(self, state: _State, transfer: Transfer, debit: Account, credit: Account) -> None:
        pending = state.transfers.get(transfer.pending_id) if transfer.pending_id else None
        posted = transfer.amount_micro if transfer.kind in (Kind.SINGLE, Kind.POST) else 0
        reserved = transfer.amount_micro if transfer.kind is Kind.PENDING else -pending.amount_micro if pending else 0
        source, target = (state.balances.get(account.code, ZERO) for account in (debit, credit))
        source = replace(source, debits_posted=source.debits_posted + posted, debits_pending=source.debits_pending + reserved)
        target = replace(target, credits_posted=target.credits_posted + posted, credits_pending=target.credits_pending + reserved)
        if debit.guarded and source.available_micro < 0:
            raise Overdrawn(f"{debit.code} lacks {-source.available_micro} micro-units.")
        state.balances |= {debit.code: source, credit.code: target}


def _resolve(state: _State, transfer: Transfer) -> Transfer:
    """A post or void with the accounts of its pending transfer, which it uses up."""
    assert transfer.pending_id is not None, "only called for posts and voids"
    pending = state.transfers.get(transfer.pending_id)
    if pending is None or pending.kind is not Kind.PENDING or transfer.kind not in (Kind.POST, Kind.VOID):
        raise NoSuchPending("There is nothing to post or void.")
    if transfer.pending_id in state.resolved:
        raise AlreadyResolved("It was posted or voided before.")
    if transfer.amount_micro > pending.amount_micro:
        raise AbovePending(f"At most {pending.amount_micro} micro-units are held.")
    state.resolved.add(transfer.pending_id)
    return replace(transfer, debit=pending.debit, credit=pending.credit)
