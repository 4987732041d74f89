"""The database's ledger against its model: the same random batches, many at once, and the same balances in the end."""

import asyncio
from random import Random
from uuid import UUID

import pytest
import sqlalchemy as sa

from gridbroker.core.db import Database
from gridbroker.settlement import ledger, repository, service
from gridbroker.settlement.book import Book
from gridbroker.settlement.ledger import Batch, Kind, LedgerRefused, Purpose, Transfer

ORGS = [UUID(int=number) for number in range(1, 4)]
ACCOUNTS = [*(ledger.wallet(org) for org in ORGS), *(ledger.payable(org) for org in ORGS), ledger.ESCROW, ledger.CARD_CLEARING]
ROUNDS = 25
AT_ONCE = 6


async def _open_all(database: Database) -> Book:
    async with database.as_system() as tx:
        await repository.open_accounts(tx, "wallet", ORGS)
        await repository.open_accounts(tx, "payable", ORGS)
    return Book([*ACCOUNTS, *ledger.PLATFORM_ACCOUNTS])


async def _post(database: Database, batch: Batch) -> object:
    """What became of it: posted, a repetition, or the refusal's type."""
    try:
        async with database.as_system() as tx:
            return await repository.post(tx, batch)
    except LedgerRefused as refused:
        return type(refused)


def _model(book: Book, batch: Batch) -> object:
    try:
        return book.post(batch)
    except LedgerRefused as refused:
        return type(refused)


class _Random:
    """Random batches, some of them wrong on purpose, some repeated."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.pending: list[UUID] = []
        self.made: list[Batch] = []

    def _id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128))

    def _transfer(self) -> Transfer:
        choice = self.random.random()
        source = ledger.CARD_CLEARING.code if self.random.random() < 0.35 else self._account()
        values: dict = {"debit": source, "credit": self._account(), "amount_micro": self.random.choice([1, 40, 700])}
        kind = Kind.SINGLE if choice < 0.4 else Kind.PENDING
        if choice > 0.65 and self.pending:
            kind = self.random.choice([Kind.POST, Kind.VOID])
            amount = 0 if kind is Kind.VOID else self.random.choice([1, 40, 700])
            values = {"pending_id": self.random.choice(self.pending), "amount_micro": amount}
        made = Transfer(transfer_id=self._id(), kind=kind, purpose=Purpose.SHARE, reference=self._id(), **values)
        if kind is Kind.PENDING:
            self.pending.append(made.transfer_id)
        return made

    def _account(self) -> str:
        return self.random.choice(ACCOUNTS).code

    def batch(self) -> Batch:
        if self.made and self.random.random() < 0.15:
            known = self.random.choice(self.made)
            return known if self.random.random() < 0.7 else Batch(known.batch_id, (self._transfer(),))
        made = Batch(self._id(), tuple(self._transfer() for _ in range(self.random.choice([1, 1, 2, 3]))))
        self.made.append(made)
        return made


@pytest.mark.parametrize("seed", range(3))
async def test_one_after_the_other_the_database_decides_as_the_model_does(database, seed):
    book, source, outcomes = await _open_all(database), _Random(seed), set()
    for _ in range(ROUNDS * AT_ONCE):
        batch = source.batch()
        outcome = await _post(database, batch)
        assert outcome == _model(book, batch), batch
        outcomes.add(outcome)
    assert {True, False, ledger.Overdrawn, ledger.BatchReused, ledger.AlreadyResolved, ledger.BadAccount} <= outcomes
    await _check_invariants(database)
    async with database.as_system() as tx:
        stored = {account.code: kept for account, kept in await repository.list_accounts(tx) if not account.derived}
    assert stored == {code: book.balance(code) for code in stored}


@pytest.mark.parametrize("seed", range(2))
async def test_many_at_once_leave_a_sound_ledger(database, seed):
    await _open_all(database)
    source = _Random(1000 + seed)
    posted = 0
    for _ in range(ROUNDS):
        outcomes = await asyncio.gather(*(_post(database, source.batch()) for _ in range(AT_ONCE)))
        posted += outcomes.count(True)
    assert posted > ROUNDS
    await _check_invariants(database)


async def _check_invariants(database: Database) -> None:
    async with database.as_system(repeatable=True) as tx:
        problems = [problem for problem in await service.audit(tx) if "escrow" not in problem]
        doubled = await tx.scalar(
            sa.text(
                "select count(*) from (select pending_id from ledger_transfers where pending_id is not null "
                "group by pending_id having count(*) > 1) twice"
            )
        )
        overdrawn = await tx.scalar(
            sa.text("select count(*) from ledger_accounts where guarded and debits_posted + debits_pending > credits_posted")
        )
    assert (problems, doubled, overdrawn) == ([], 0, 0)
