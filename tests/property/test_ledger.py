"""Laws of the ledger, on its model: debits equal credits, guarded accounts never go below zero, holds end once."""

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gridbroker.settlement import ledger
from gridbroker.settlement.book import Book
from gridbroker.settlement.ledger import Account, Batch, Kind, LedgerRefused, Purpose, Transfer

NAMESPACE = UUID(int=7)
WALLETS = [ledger.wallet(UUID(int=number)) for number in range(3)]
PAYABLES = [ledger.payable(UUID(int=number)) for number in range(2)]
ACCOUNTS = [*WALLETS, *PAYABLES, ledger.ESCROW, ledger.CARD_CLEARING]

amounts = st.integers(1, 1000)
accounts = st.sampled_from(ACCOUNTS)


class LedgerMachine(RuleBasedStateMachine):
    """Random posts, holds, resolutions and replays. Counts what must be true beside the book, by simpler means."""

    pending = Bundle("pending")
    batches = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(ACCOUNTS)
        self.count = 0
        self.open: dict[UUID, Transfer] = {}
        self.ended: set[UUID] = set()
        self.net: dict[str, int] = dict.fromkeys(self.book.accounts, 0)

    def new_id(self) -> UUID:
        self.count += 1
        return uuid5(NAMESPACE, str(self.count))

    def transfer(self, kind: Kind, **values: object) -> Transfer:
        return Transfer(transfer_id=self.new_id(), kind=kind, purpose=Purpose.SHARE, reference=self.new_id(), **values)  # type: ignore[arg-type]

    def post(self, *transfers: Transfer) -> bool:
        """Whether the book took the batch; a refused one must leave no trace."""
        before = self.book.balances()
        try:
            assert self.book.post(Batch(self.new_id(), transfers))
        except LedgerRefused:
            assert self.book.balances() == before
            return False
        return True

    @rule(target=batches, debit=accounts, credit=accounts, amount=amounts)
    def move(self, debit: Account, credit: Account, amount: int) -> Batch:
        transfer = self.transfer(Kind.SINGLE, debit=debit.code, credit=credit.code, amount_micro=amount)
        covered = not debit.guarded or self.book.balance(debit.code).available_micro >= amount
        assert self.post(transfer) == (covered and debit != credit)
        if covered and debit != credit:
            self.net[debit.code] -= amount
            self.net[credit.code] += amount
        return Batch(UUID(int=self.count), (transfer,))

    @rule(target=pending, debit=st.sampled_from(WALLETS), amount=amounts)
    def hold(self, debit: Account, amount: int) -> UUID:
        transfer = self.transfer(Kind.PENDING, debit=debit.code, credit=ledger.ESCROW.code, amount_micro=amount)
        if self.post(transfer):
            self.open[transfer.transfer_id] = transfer
        return transfer.transfer_id

    @rule(hold=pending, share=st.integers(1, 120))
    def capture(self, hold: UUID, share: int) -> None:
        held = self.open.get(hold)
        amount = max(1, held.amount_micro * share // 100) if held else share
        taken = self.post(self.transfer(Kind.POST, pending_id=hold, amount_micro=amount))
        assert taken == (held is not None and amount <= held.amount_micro)
        if taken and held is not None:
            self.net[held.debit or ""] -= amount
            self.net[held.credit or ""] += amount
            self.ended.add(self.open.pop(hold).transfer_id)

    @rule(hold=consumes(pending))
    def void(self, hold: UUID) -> None:
        assert self.post(self.transfer(Kind.VOID, pending_id=hold)) == (self.open.pop(hold, None) is not None)

    @rule(debit=accounts, credit=accounts, amount=amounts)
    def all_or_nothing(self, debit: Account, credit: Account, amount: int) -> None:
        good = self.transfer(Kind.SINGLE, debit=ledger.CARD_CLEARING.code, credit=WALLETS[0].code, amount_micro=amount)
        assert not self.post(good, self.transfer(Kind.SINGLE, debit=debit.code, credit=credit.code, amount_micro=0))

    @rule(hold=pending)
    def nothing_ends_twice(self, hold: UUID) -> None:
        if hold in self.ended:
            assert not self.post(self.transfer(Kind.VOID, pending_id=hold))

    @invariant()
    def debits_equal_credits(self) -> None:
        balances = self.book.balances().values()
        assert sum(one.debits_posted for one in balances) == sum(one.credits_posted for one in balances)
        assert sum(one.debits_pending for one in balances) == sum(one.credits_pending for one in balances)

    @invariant()
    def balances_are_what_happened(self) -> None:
        assert {code: one.posted_micro for code, one in self.book.balances().items()} == self.net
        assert self.book.balance(ledger.ESCROW.code).credits_pending == sum(one.amount_micro for one in self.open.values())

    @invariant()
    def guarded_accounts_are_covered(self) -> None:
        assert all(self.book.balance(account.code).available_micro >= 0 for account in ACCOUNTS if account.guarded)


TestLedger = LedgerMachine.TestCase


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.lists(st.integers(1, 10**9), min_size=1, max_size=4))
def test_a_settlement_moves_the_hold_to_providers_and_fee_and_nothing_else(top_up, fee, amounts):
    customer, workload = UUID(int=1), UUID(int=2)
    shares = [(UUID(int=10 + number), amount) for number, amount in enumerate(amounts)]
    charged = fee + sum(amounts)
    held = charged + top_up
    book = Book([ledger.wallet(customer), *(ledger.payable(provider) for provider, _ in shares), *ledger.PLATFORM_ACCOUNTS])
    book.post(ledger.top_up(UUID(int=3), customer, held))
    book.post(ledger.hold(workload, customer, held))
    book.post(ledger.settlement(workload, held=True, fee_micro=fee, shares=shares))
    assert book.balance(ledger.wallet(customer).code).available_micro == top_up
    assert book.balance(ledger.ESCROW.code).posted_micro == 0
    assert book.balance(ledger.PLATFORM_FEE.code).posted_micro == fee
    assert [book.balance(ledger.payable(provider).code).posted_micro for provider, _ in shares] == amounts


def test_a_payout_ends_once_whatever_arrives_late():
    provider, payout = UUID(int=1), UUID(int=2)
    book = Book([ledger.payable(provider), *ledger.PLATFORM_ACCOUNTS])
    book.post(Batch(UUID(int=3), (ledger.settlement(UUID(int=4), held=False, fee_micro=0, shares=[(provider, 50)]).transfers)))
    book.post(ledger.payout_sent(payout, provider, 50))
    assert book.post(ledger.payout_confirmed(payout, 50))
    assert not book.post(ledger.payout_confirmed(payout, 50))
    with pytest.raises(ledger.BatchReused):
        book.post(ledger.payout_returned(payout))
    assert book.balance(ledger.PAYOUT_CLEARING.code).posted_micro == 50
