"""The ledger in the database: what it enforces, and who may do what."""

import asyncio
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from gridbroker.core.db import Database
from gridbroker.core.errors import InsufficientFunds
from gridbroker.settlement import ledger, repository, service
from gridbroker.settlement.ledger import Batch, Kind, Purpose, Transfer

EURO = 1_000_000


async def _balance(database: Database, org_id: UUID) -> service.WalletBalance:
    async with database.as_org(org_id) as tx:
        return await service.balance(tx, org_id)


async def _hold(database: Database, org_id: UUID, workload_id: UUID, amount_micro: int) -> None:
    async with database.as_org(org_id) as tx:
        await service.place_hold(tx, org_id, workload_id, amount_micro)


async def test_a_hold_lowers_what_is_available_once(database, fund):
    org_id, workload_id = uuid4(), uuid4()
    await fund(org_id, 10 * EURO)
    for _ in range(2):
        await _hold(database, org_id, workload_id, 4 * EURO)
    found = await _balance(database, org_id)
    assert (found.available_micro, found.held_micro, found.posted_micro) == (6 * EURO, 4 * EURO, 10 * EURO)


async def test_a_hold_beyond_the_wallet_says_what_is_missing_and_writes_nothing(database, fund):
    org_id = uuid4()
    await fund(org_id, 10 * EURO)
    async with database.as_org(org_id) as tx:
        with pytest.raises(InsufficientFunds, match=r"lacks 2\.50 EUR.*top-ups") as refused:
            await service.place_hold(tx, org_id, uuid4(), 12_500_000)
        assert refused.value.reasons == {"missing_micro": 2_500_000}
        await service.place_hold(tx, org_id, uuid4(), 10 * EURO)  # the transaction is still good
    assert (await _balance(database, org_id)).available_micro == 0


async def test_an_organisation_without_a_wallet_lacks_everything(database):
    with pytest.raises(InsufficientFunds):
        await _hold(database, uuid4(), uuid4(), 1)


@pytest.mark.parametrize("amount_micro", [0, -1])
async def test_a_hold_of_nothing_is_a_mistake(database, fund, amount_micro):
    org_id = uuid4()
    await fund(org_id, EURO)
    with pytest.raises(ValueError, match="above 0"):
        await _hold(database, org_id, uuid4(), amount_micro)


async def test_a_workload_cannot_have_two_different_holds(database, fund):
    org_id, workload_id = uuid4(), uuid4()
    await fund(org_id, 10 * EURO)
    await _hold(database, org_id, workload_id, EURO)
    with pytest.raises(ledger.BatchReused):
        await _hold(database, org_id, workload_id, 2 * EURO)


async def test_nobody_holds_another_organisations_money(database, fund):
    mine, theirs = uuid4(), uuid4()
    await fund(theirs, 10 * EURO)
    with pytest.raises(DBAPIError, match="not bound"):
        async with database.as_org(mine) as tx:
            await service.place_hold(tx, theirs, uuid4(), EURO)
    async with database.as_system() as tx:
        await service.place_hold(tx, theirs, uuid4(), EURO)
    assert (await _balance(database, theirs)).held_micro == EURO


async def test_racing_holds_never_overdraw(database, fund):
    org_id = uuid4()
    await fund(org_id, 5 * EURO)
    results = await asyncio.gather(*(_hold(database, org_id, uuid4(), EURO) for _ in range(8)), return_exceptions=True)
    assert sum(result is None for result in results) == 5
    assert sum(isinstance(result, InsufficientFunds) for result in results) == 3
    assert (await _balance(database, org_id)).available_micro == 0


async def test_an_organisation_sees_only_what_touches_its_accounts(database, fund):
    mine, theirs = uuid4(), uuid4()
    await fund(mine, EURO)
    await fund(theirs, EURO)
    async with database.as_org(mine) as tx:
        entries = await repository.list_entries(tx)
        codes = set(await tx.scalars(sa.text("select code from ledger_accounts")))
    assert [entry.transfer.credit for entry in entries] == [ledger.wallet(mine).code]
    assert codes == {ledger.wallet(mine).code}


@pytest.mark.parametrize(
    "statement",
    [
        "insert into ledger_accounts (code, currency, guarded, derived) values ('x', 'EUR', false, false)",
        "update ledger_accounts set credits_posted = credits_posted + 1",
        "delete from ledger_transfers",
        "update ledger_transfers set amount_micro = 1",
        "insert into ledger_batches (id, body_hash) values (gen_random_uuid(), '')",
        "truncate ledger_transfers cascade",
    ],
)
@pytest.mark.parametrize("role", ["app", "system"])
async def test_neither_role_writes_the_tables(database, statement, role):
    with pytest.raises(DBAPIError, match="permission denied"):
        async with database.as_org(uuid4()) if role == "app" else database.as_system() as tx:
            await tx.execute(sa.text(statement))


async def test_the_application_role_cannot_post(database, fund):
    """Otherwise it could credit its own wallet."""
    org_id = uuid4()
    await fund(org_id, EURO)
    with pytest.raises(DBAPIError, match="permission denied for function ledger_post"):
        async with database.as_org(org_id) as tx:
            await repository.post(tx, ledger.top_up(uuid4(), org_id, EURO))


async def test_even_the_owner_cannot_change_what_was_posted(database, fund, postgres, database_name):
    await fund(uuid4(), EURO)
    owner = sa.ext.asyncio.create_async_engine(
        postgres.database_urls(database_name).owner.replace("postgresql://", "postgresql+asyncpg://")
    )
    try:
        for statement in (
            "update ledger_transfers set amount_micro = 2",
            "delete from ledger_transfers",
            "delete from ledger_batches",
        ):
            with pytest.raises(DBAPIError, match="append-only"):
                async with owner.begin() as tx:
                    await tx.execute(sa.text(statement))
    finally:
        await owner.dispose()


def _batch(*transfers: Transfer) -> Batch:
    return Batch(uuid4(), transfers)


def _transfer(kind: Kind = Kind.SINGLE, **values) -> Transfer:
    return Transfer(**({"transfer_id": uuid4(), "kind": kind, "purpose": Purpose.SHARE, "reference": uuid4()} | values))


async def test_a_batch_happens_whole_or_not_at_all(database, fund):
    org_id = uuid4()
    await fund(org_id, EURO)
    wallet, escrow = ledger.wallet(org_id).code, ledger.ESCROW.code
    good = _transfer(debit=wallet, credit=escrow, amount_micro=EURO)
    too_much = _transfer(debit=wallet, credit=escrow, amount_micro=1)
    with pytest.raises(ledger.Overdrawn):
        async with database.as_system() as tx:
            await repository.post(tx, _batch(good, too_much))
    assert (await _balance(database, org_id)).posted_micro == EURO


async def test_a_batch_is_posted_once_and_only_with_its_own_body(database, fund):
    org_id = uuid4()
    await fund(org_id, EURO)
    batch = ledger.top_up(uuid4(), org_id, EURO)

    async def post(one: Batch) -> bool:
        async with database.as_system() as tx:
            return await repository.post(tx, one)

    assert sorted(await asyncio.gather(*(post(batch) for _ in range(6)))) == [False] * 5 + [True]
    with pytest.raises(ledger.BatchReused):
        await post(Batch(batch.batch_id, ledger.top_up(uuid4(), org_id, EURO).transfers))
    assert (await _balance(database, org_id)).posted_micro == 2 * EURO


@pytest.mark.parametrize(
    ("second", "refusal"),
    [
        ({"kind": Kind.POST, "amount_micro": EURO + 1}, ledger.AbovePending),
        ({"kind": Kind.SINGLE, "amount_micro": 1}, ledger.NoSuchPending),
        ({"kind": Kind.VOID, "pending_id": UUID(int=1)}, ledger.NoSuchPending),
    ],
)
async def test_what_does_not_fit_a_hold_is_refused(database, fund, second, refusal):
    org_id, workload_id = uuid4(), uuid4()
    await fund(org_id, EURO)
    await _hold(database, org_id, workload_id, EURO)
    with pytest.raises(refusal):
        async with database.as_system() as tx:
            await repository.post(tx, _batch(_transfer(**({"pending_id": ledger.hold_id(workload_id)} | second))))


async def test_a_hold_ends_once(database, fund):
    org_id, workload_id = uuid4(), uuid4()
    await fund(org_id, EURO)
    await _hold(database, org_id, workload_id, EURO)

    async def end(kind: Kind, amount_micro: int) -> bool:
        async with database.as_system() as tx:
            transfer = _transfer(kind, amount_micro=amount_micro, pending_id=ledger.hold_id(workload_id))
            return await repository.post(tx, _batch(transfer))

    results = await asyncio.gather(*(end(Kind.POST, 1) for _ in range(3)), end(Kind.VOID, 0), return_exceptions=True)
    assert results.count(True) == 1
    assert sum(isinstance(result, ledger.AlreadyResolved) for result in results) == 3


async def test_the_audit_finds_what_does_not_follow_from_the_transfers(database, fund, postgres, database_name):
    org_id = uuid4()
    await fund(org_id, EURO)
    await _hold(database, org_id, uuid4(), EURO)
    async with database.as_system(repeatable=True) as tx:
        assert await service.audit(tx) == []
    owner = sa.ext.asyncio.create_async_engine(
        postgres.database_urls(database_name).owner.replace("postgresql://", "postgresql+asyncpg://")
    )
    try:
        async with owner.begin() as tx:
            await tx.execute(sa.text("update ledger_accounts set credits_posted = credits_posted + 1 where guarded"))
    finally:
        await owner.dispose()
    async with database.as_system(repeatable=True) as tx:
        [problem] = await service.audit(tx)
    assert ledger.wallet(org_id).code in problem
