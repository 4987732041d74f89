"""Charges, payouts and trees move by plan, act, record: lost replies, crashes, refusals, two workers."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from gridbroker.core.db import Database
from gridbroker.core.queue import RecordingQueue
from gridbroker.settlement import ledger, merkle, repository, service, tasks
from gridbroker.settlement.charge import Charge, ChargeState
from gridbroker.settlement.models import charges, payouts, receipt_trees
from gridbroker.settlement.outcome import RailResult
from gridbroker.settlement.payout import Payout, PayoutState, destination_of
from gridbroker.settlement.rails.fake import FakeAnchorRail, FakeCardRail, FakePayoutRail, Fault
from gridbroker.settlement.tree import ReceiptState
from gridbroker.settlement.verify import verify
from tests.integration.settlement.conftest import ISSUER
from tests.unit.settlement.build import CUSTOMER, nothing_ran

EURO = 1_000_000


class _Crash(BaseException):
    """The process dies: no handler of ours may see it."""


class _DiesAfterTheEffect(FakeCardRail):
    """Takes the money, then the process that asked is gone."""

    async def charge(self, key: str, amount_micro: int, currency: str, payment_method: str) -> RailResult:
        await super().charge(key, amount_micro, currency, payment_method)
        raise _Crash


async def _top_up(database: Database, clock, method: str = "pm_card_visa", org_id: UUID = CUSTOMER) -> UUID:
    async with database.as_org(org_id) as tx:
        return (await service.request_top_up(tx, clock, org_id, 5 * EURO, method)).charge_id


async def _charge(database: Database, charge_id: UUID) -> Charge:
    async with database.as_system() as tx:
        [found] = await repository.find_charges(tx, [charge_id])
    return found


async def _available(database: Database, org_id: UUID = CUSTOMER) -> int:
    async with database.as_org(org_id) as tx:
        return (await service.balance(tx, org_id)).available_micro


async def _make_due(database: Database, table: sa.Table, row_id: UUID) -> None:
    """As if the wait, or the dead worker's claim, were over."""
    async with database.as_system() as tx:
        await tx.execute(table.update().where(table.c.id == row_id).values(due_at=sa.func.clock_timestamp(), claim_until=None))


async def _sound(database: Database) -> None:
    async with database.as_system(repeatable=True) as tx:
        assert [problem for problem in await service.audit(tx) if "escrow" not in problem] == []


async def advance(database, clock, rail, ids: Sequence[UUID] | None = None) -> int:
    return await tasks.advance_charge(database, clock, RecordingQueue(), rail, ids)


async def advance_payouts(database, clock, rail, ids: Sequence[UUID] | None = None) -> int:
    return await tasks.advance_payout(database, clock, RecordingQueue(), rail, ids)


async def test_a_paid_top_up_is_in_the_wallet_once(database, clock):
    rail, charge_id = FakeCardRail(), await _top_up(database, clock)
    assert await advance(database, clock, rail, [charge_id]) == 1
    assert await advance(database, clock, rail) == 0
    paid = await _charge(database, charge_id)
    assert (paid.state, paid.ended_at) == (ChargeState.PAID, clock.wall())
    assert paid.external_id
    assert await _available(database) == 5 * EURO
    assert rail.calls == 1


async def test_a_declined_card_is_final_and_says_why(database, clock):
    charge_id = await _top_up(database, clock, "pm_card_declined")
    assert await advance(database, clock, FakeCardRail()) == 1
    declined = await _charge(database, charge_id)
    assert (declined.state, declined.state_reason) == (ChargeState.DECLINED, "card_declined")
    assert await advance(database, clock, FakeCardRail()) == 0
    assert await _available(database) == 0


@pytest.mark.parametrize("fault", [Fault.LOST_REPLY, Fault.UNAVAILABLE, Fault.STILL_PENDING])
async def test_not_knowing_is_retried_with_the_same_key(database, clock, fault):
    rail, charge_id = FakeCardRail(), await _top_up(database, clock)
    rail.script(fault, fault)
    for _ in range(2):
        assert await advance(database, clock, rail) == 0
        waiting = await _charge(database, charge_id)
        assert waiting.state is ChargeState.DUE
        assert await advance(database, clock, rail) == 0, "it waits before the next try"
        await _make_due(database, charges, charge_id)
    assert await advance(database, clock, rail) == 1
    assert (rail.calls, len(rail.effects)) == (3, 1)
    assert await _available(database) == 5 * EURO


async def test_a_crash_between_act_and_record_charges_once(database, clock):
    charge_id = await _top_up(database, clock)
    dying = _DiesAfterTheEffect()
    with pytest.raises(_Crash):
        await advance(database, clock, dying)
    assert await advance(database, clock, FakeCardRail()) == 0, "the dead worker's claim still holds"
    await _make_due(database, charges, charge_id)
    rail = FakeCardRail()
    rail.effects = dying.effects
    assert await advance(database, clock, rail) == 1
    assert (len(rail.effects), await _available(database)) == (1, 5 * EURO)
    await _sound(database)


async def test_a_result_under_a_lost_claim_is_dropped(database, clock):
    """A worker slept so long that another took over and finished: its late result credits nothing."""
    charge_id = await _top_up(database, clock)
    fast = FakeCardRail()

    class Slow(FakeCardRail):
        async def charge(self, key: str, amount_micro: int, currency: str, payment_method: str) -> RailResult:
            await _make_due(database, charges, charge_id)
            assert await advance(database, clock, fast) == 1
            return await super().charge(key, amount_micro, currency, payment_method)

    assert await advance(database, clock, Slow()) == 0
    assert await _available(database) == 5 * EURO


async def test_two_workers_share_the_work(database, clock):
    ids = [await _top_up(database, clock) for _ in range(12)]
    rail = FakeCardRail()
    moved = await asyncio.gather(*(advance(database, clock, rail) for _ in range(3)))
    assert (sum(moved), rail.calls, len(rail.effects)) == (12, 12, 12)
    assert {(await _charge(database, charge_id)).state for charge_id in ids} == {ChargeState.PAID}
    assert await _available(database) == 60 * EURO


async def _payout(database: Database, clock, destination: str = "") -> Payout:
    """A provider with a payable of one euro and a payout of it that is due."""
    provider = uuid4()
    payout = Payout(
        payout_id=clock.new_id(),
        org_id=provider,
        workload_id=uuid4(),
        state=PayoutState.DUE,
        amount_micro=EURO,
        currency="EUR",
        destination=destination or destination_of(provider),
        created_at=clock.wall(),
    )
    async with database.as_system() as tx:
        await repository.open_accounts(tx, "payable", [provider])
        await repository.post(tx, ledger.settlement(payout.workload_id, held=False, fee_micro=0, shares=[(provider, EURO)]))
        await repository.add_payouts(tx, [payout])
    return payout


async def _after(database: Database, payout: Payout) -> tuple[PayoutState, int, int]:
    """State, what is still payable, and what is under way."""
    async with database.as_system() as tx:
        [found] = await repository.find_payouts(tx, [payout.payout_id])
        balance = await repository.find_balance(tx, ledger.payable(payout.org_id).code)
    return found.state, balance.posted_micro, balance.debits_pending


async def test_a_payout_is_reserved_paid_and_posted(database, clock):
    payout, rail = await _payout(database, clock), FakePayoutRail()
    assert await advance_payouts(database, clock, rail) == 2
    assert await _after(database, payout) == (PayoutState.PAID, 0, 0)
    assert (rail.calls, len(rail.effects)) == (1, 1)
    await _sound(database)


async def test_a_payout_that_is_not_final_stays_reserved(database, clock):
    payout, rail = await _payout(database, clock), FakePayoutRail()
    rail.script(Fault.STILL_PENDING, Fault.LOST_REPLY)
    for _ in range(2):
        await advance_payouts(database, clock, rail)
        assert await _after(database, payout) == (PayoutState.SENT, EURO, EURO)
        await _make_due(database, payouts, payout.payout_id)
    assert await advance_payouts(database, clock, rail) == 1
    assert await _after(database, payout) == (PayoutState.PAID, 0, 0)
    assert len(rail.effects) == 1


async def test_a_refused_payout_gives_the_money_back_to_the_payable(database, clock):
    payout = await _payout(database, clock, "closed:account")
    assert await advance_payouts(database, clock, FakePayoutRail()) == 2
    assert await _after(database, payout) == (PayoutState.FAILED, EURO, 0)
    assert await advance_payouts(database, clock, FakePayoutRail()) == 0
    await _sound(database)


async def test_a_crash_after_the_payment_pays_once(database, clock):
    payout = await _payout(database, clock)

    class Dying(FakePayoutRail):
        async def pay(self, key: str, amount_micro: int, currency: str, destination: str) -> RailResult:
            await super().pay(key, amount_micro, currency, destination)
            raise _Crash

    dying = Dying()
    with pytest.raises(_Crash):
        await advance_payouts(database, clock, dying)
    assert await _after(database, payout) == (PayoutState.SENT, EURO, EURO)
    await _make_due(database, payouts, payout.payout_id)
    rail = FakePayoutRail()
    rail.effects = dying.effects
    assert await advance_payouts(database, clock, rail) == 1
    assert (len(rail.effects), await _after(database, payout)) == (1, (PayoutState.PAID, 0, 0))


async def _receipts(database: Database, clock, signer, workloads: range) -> list[UUID]:
    made = []
    for workload in workloads:
        async with database.as_system() as tx:
            settled = await service.settle(
                tx, clock, nothing_ran(workload), held_micro=0, fee_bp=1500, signer=signer, issuer=ISSUER
            )
            made.append(settled.receipt_id)
    return made


async def test_receipts_are_batched_proven_and_anchored(database, clock, signer):
    ids = await _receipts(database, clock, signer, range(100, 105))
    rail = FakeAnchorRail()
    assert await tasks.batch_receipts(database, clock, rail) == 5 + 1
    assert await tasks.batch_receipts(database, clock, rail) == 0
    for receipt_id in ids:
        async with database.as_org(CUSTOMER) as tx:
            found, tree = await service.get_proof(tx, receipt_id)
        assert found.state is ReceiptState.ANCHORED
        assert merkle.includes(found.leaf_hash, found.leaf_index or 0, tree.size, found.path, tree.root)
        assert found.leaf_hash == merkle.leaf_hash(found.document)
        assert verify(found.document).ok
    assert rail.effects == {str(tree.tree_id): (tree.memo,)}


async def test_trees_form_a_chain(database, clock, signer):
    rail, trees = FakeAnchorRail(), []
    for start in (100, 200, 300):
        [receipt_id] = await _receipts(database, clock, signer, range(start, start + 1))
        await tasks.batch_receipts(database, clock, rail)
        async with database.as_org(CUSTOMER) as tx:
            trees.append((await service.get_proof(tx, receipt_id))[1])
    assert [tree.number for tree in trees] == [1, 2, 3]
    assert [tree.previous_root for tree in trees] == [merkle.EMPTY_ROOT, trees[0].root, trees[1].root]


async def test_an_unbatched_receipt_has_no_proof_yet(database, clock, signer):
    [receipt_id] = await _receipts(database, clock, signer, range(1, 2))
    async with database.as_org(CUSTOMER) as tx:
        with pytest.raises(service.NotBatched):
            await service.get_proof(tx, receipt_id)


async def test_an_anchor_that_got_lost_is_published_again_with_its_key(database, clock, signer):
    [receipt_id] = await _receipts(database, clock, signer, range(1, 2))
    rail = FakeAnchorRail()
    rail.script(Fault.LOST_REPLY)
    assert await tasks.batch_receipts(database, clock, rail) == 1
    async with database.as_system() as tx:
        found, tree = await service.get_proof(tx, receipt_id)
    assert found.state is ReceiptState.BATCHED
    await _make_due(database, receipt_trees, tree.tree_id)
    assert await tasks.batch_receipts(database, clock, rail) == 1
    assert len(rail.effects) == 1


async def test_two_batchers_make_no_tree_twice(database, clock, signer):
    await _receipts(database, clock, signer, range(1, 7))
    rail = FakeAnchorRail()
    await asyncio.gather(*(tasks.batch_receipts(database, clock, rail) for _ in range(3)))
    async with database.as_system() as tx:
        assert await tx.scalar(sa.select(sa.func.sum(receipt_trees.c.size))) == 6
