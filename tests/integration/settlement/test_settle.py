"""A statement becomes money and proof: once, in one transaction."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest

from gridbroker.core.db import Database
from gridbroker.settlement import ledger, repository, service
from gridbroker.settlement.charge import ChargeState, Method
from gridbroker.settlement.data_integrity import did_key
from gridbroker.settlement.payout import PayoutState
from gridbroker.settlement.receipt import pseudonym
from gridbroker.settlement.verify import verify
from tests.integration.settlement.conftest import ISSUER
from tests.unit.settlement.build import CUSTOMER, FIRST, SECOND, nothing_ran, statement

HELD = 2_000_000


@pytest.fixture
async def held(database, fund):
    """A funded customer with a hold for the statement's workload."""
    await fund(CUSTOMER, 10_000_000)
    async with database.as_org(CUSTOMER) as tx:
        await service.place_hold(tx, CUSTOMER, statement().workload_id, HELD)


async def _settle(database, clock, signer, of=None, held_micro=HELD):
    async with database.as_system() as tx:
        return await service.settle(tx, clock, of or statement(), held_micro=held_micro, fee_bp=1500, signer=signer, issuer=ISSUER)


async def _posted(database: Database) -> dict[str, int]:
    async with database.as_system() as tx:
        return {account.code: kept.posted_micro for account, kept in await repository.list_accounts(tx) if not account.derived}


async def _audit(database: Database) -> list[str]:
    async with database.as_system(repeatable=True) as tx:
        return list(await service.audit(tx))


async def test_the_hold_pays_providers_and_platform(database, clock, signer, held):
    settlement = await _settle(database, clock, signer)
    division = settlement.division
    assert (division.charged_micro, division.fee_micro) == (1_500_001, 225_000)
    assert await _posted(database) == {
        ledger.wallet(CUSTOMER).code: 10_000_000 - 1_500_001,
        ledger.payable(FIRST).code: division.shares[0].amount_micro,
        ledger.payable(SECOND).code: division.shares[1].amount_micro,
    }
    async with database.as_org(CUSTOMER) as tx:
        assert (await service.balance(tx, CUSTOMER)).held_micro == 0
    assert await _audit(database) == []


async def test_charge_payouts_and_receipt_are_left_behind(database, clock, signer, held):
    settlement = await _settle(database, clock, signer)
    async with database.as_org(CUSTOMER) as tx:
        [charge] = await repository.list_charges(tx, CUSTOMER)
        stored = await service.get_receipt(tx, settlement.receipt_id)
        assert await repository.list_payouts(tx, FIRST) == []
    assert (charge.method, charge.state, charge.amount_micro) == (Method.WALLET, ChargeState.PAID, 1_500_001)
    for provider, share in zip((FIRST, SECOND), settlement.division.shares, strict=True):
        async with database.as_org(provider) as tx:
            [payout] = await repository.list_payouts(tx, provider)
            assert await repository.find_receipt(tx, settlement.receipt_id) is None
        assert (payout.state, payout.amount_micro) == (PayoutState.DUE, share.amount_micro)
    assert verify(stored.document, expected_key=did_key(signer.public_key)).ok
    subject = json.loads(stored.document)["credentialSubject"]
    assert subject["workload"] == pseudonym(statement().workload_id, stored.salt)
    assert subject["cost"]["chargeId"] == str(settlement.charge_id)


async def test_settling_again_changes_nothing(database, clock, signer, held):
    first = await _settle(database, clock, signer)
    before = await _posted(database)
    assert await _settle(database, clock, signer) == first
    assert await _posted(database) == before


async def test_racing_settlements_are_one(database, clock, signer, held):
    results = await asyncio.gather(*(_settle(database, clock, signer) for _ in range(4)))
    assert len({result.receipt_id for result in results}) == 1
    assert await _audit(database) == []


async def test_settling_with_other_figures_is_refused(database, clock, signer, held):
    await _settle(database, clock, signer)
    with pytest.raises(ledger.BatchReused):
        await _settle(database, clock, signer, statement(costs=(1, 1)))


async def test_a_crash_before_the_commit_leaves_nothing(database, clock, signer, held):
    before = await _posted(database)
    with pytest.raises(RuntimeError, match="crash"):
        async with database.as_system() as tx:
            await service.settle(tx, clock, statement(), held_micro=HELD, fee_bp=1500, signer=signer, issuer=ISSUER)
            raise RuntimeError("crash")
    assert await _posted(database) == before
    await _settle(database, clock, signer)
    assert await _audit(database) == []


async def test_a_cost_above_the_hold_is_cut_at_the_hold(database, clock, signer, held):
    settlement = await _settle(database, clock, signer, statement(costs=(3_000_000, 1_000_000)))
    assert settlement.division.charged_micro == HELD
    assert (await _posted(database))[ledger.wallet(CUSTOMER).code] == 10_000_000 - HELD


async def test_nothing_used_gives_the_hold_back_and_still_a_receipt(database, clock, signer, held):
    settlement = await _settle(database, clock, signer, nothing_ran())
    assert (settlement.charge_id, settlement.payout_ids) == (None, ())
    async with database.as_org(CUSTOMER) as tx:
        assert (await service.balance(tx, CUSTOMER)).available_micro == 10_000_000
        assert verify((await service.get_receipt(tx, settlement.receipt_id)).document).ok


async def test_without_a_hold_nothing_is_charged(database, clock, signer):
    settlement = await _settle(database, clock, signer, held_micro=0)
    assert settlement.division.charged_micro == 0
    assert await _settle(database, clock, signer, held_micro=0) == settlement


async def test_a_hold_that_does_not_exist_cannot_be_settled(database, clock, signer):
    with pytest.raises(ledger.NoSuchPending):
        await _settle(database, clock, signer)


async def test_a_statement_that_does_not_add_up_gets_no_receipt_and_moves_no_money(database, clock, signer, held):
    before = await _posted(database)
    with pytest.raises(ValueError, match="totals"):
        await _settle(database, clock, signer, statement(emissions_mg=1))
    assert await _posted(database) == before


async def test_an_unknown_receipt_is_not_found(database):
    async with database.as_org(CUSTOMER) as tx:
        with pytest.raises(service.NotFound):
            await service.get_receipt(tx, UUID(int=uuid4().int))
