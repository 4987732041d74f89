"""Advancing charges, payouts and receipt trees: claim, plan, act without a transaction, record under the claim.

Each function takes the ids that were hinted at, or None for all that is due, and returns how many rows moved on. A crash between
act and record repeats the act with the same key.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import sqlalchemy as sa
import structlog

from gridbroker.core import claims
from gridbroker.core.claims import Claim
from gridbroker.core.clock import Clock
from gridbroker.core.db import Database
from gridbroker.core.queue import Queue
from gridbroker.settlement import charge as charging
from gridbroker.settlement import merkle, repository, service
from gridbroker.settlement import payout as paying
from gridbroker.settlement.charge import Charge
from gridbroker.settlement.models import charges, payouts, receipt_trees
from gridbroker.settlement.outcome import Outcome, RailResult, Verdict, retry_in_s
from gridbroker.settlement.payout import Payout
from gridbroker.settlement.rails.base import AnchorRail, CardRail, PayoutRail, RailDeclined
from gridbroker.settlement.tree import ReceiptState, Tree, grow

BATCH = 8
"""Rows that one process works on at once; each may hold a connection."""
MAX_ROUNDS = 1000
CLAIM_S = 60.0
RAIL_TIMEOUT_S = 20.0
MAX_LEAVES = 4096

_log = structlog.get_logger()


async def advance_charge(db: Database, clock: Clock, _queue: Queue, rail: CardRail, ids: Sequence[UUID] | None = None) -> int:
    """Charge cards that are due; a paid one credits its wallet in the transaction that records it."""

    async def step(claim: Claim) -> bool:
        async with db.as_system() as tx:
            [charge] = await repository.find_charges(tx, [claim.id])
        if charging.next_action(charge) is charging.Action.NOTHING:
            return await _put_to_rest(db, charges, claim)
        outcome = await _ask(rail.charge(str(charge.charge_id), charge.amount_micro, charge.currency, charge.payment_method or ""))
        return await _record_charge(db, clock, claim, charge, outcome)

    return await _advance(db, charges, ids, step)


async def _record_charge(db: Database, clock: Clock, claim: Claim, charge: Charge, outcome: Outcome) -> bool:
    after = charging.after(charge, outcome, claim.attempts)
    moved = after.state is not charge.state
    values = {"state": after.state, "state_reason": after.reason, "external_id": outcome.external_id}
    if moved:
        values |= {"attempts": 0, "ended_at": clock.wall()}
    async with db.as_system() as tx:
        if not await claims.record(tx, charges, claim, due_in_s=after.due_in_s, **values):
            return False
        if after.state is charging.ChargeState.PAID:
            await service.credit_wallet(tx, charge)
    return moved


async def advance_payout(db: Database, clock: Clock, _queue: Queue, rail: PayoutRail, ids: Sequence[UUID] | None = None) -> int:
    """Reserve and pay what providers are due."""

    async def step(claim: Claim) -> bool:
        async with db.as_system() as tx:
            [payout] = await repository.find_payouts(tx, [claim.id])
        match paying.next_action(payout):
            case paying.Action.NOTHING:
                return await _put_to_rest(db, payouts, claim)
            case paying.Action.RESERVE:
                after = paying.Step(paying.PayoutState.SENT, 0.0, None)
                return await _record_payout(db, clock, claim, payout, after=after, external_id=None)
            case paying.Action.PAY:
                call = rail.pay(str(payout.payout_id), payout.amount_micro, payout.currency, payout.destination)
                outcome = await _ask(call)
                after = paying.after(payout, outcome, claim.attempts)
                return await _record_payout(db, clock, claim, payout, after=after, external_id=outcome.external_id)

    return await _advance(db, payouts, ids, step)


async def _record_payout(
    db: Database, clock: Clock, claim: Claim, payout: Payout, *, after: paying.Step, external_id: str | None
) -> bool:
    moved = after.state is not payout.state
    values = {"state": after.state, "state_reason": after.reason, "external_id": external_id or payout.external_id}
    if moved:
        values["attempts"] = 0
    if after.due_in_s is None:
        values["ended_at"] = clock.wall()
    async with db.as_system() as tx:
        if not await claims.record(tx, payouts, claim, due_in_s=after.due_in_s, **values):
            return False
        if moved:
            await service.post_payout(tx, payout, after.state)
    return moved


async def batch_receipts(db: Database, clock: Clock, rail: AnchorRail) -> int:
    """Put signed receipts into trees, then anchor what is due."""
    moved = 0
    while batched := await grow_tree(db, clock):
        moved += batched
    return moved + await advance_anchor(db, clock, rail)


async def grow_tree(db: Database, clock: Clock) -> int:
    """One tree of up to 4096 receipts that are in none, each with its proof. Returns how many."""
    async with db.as_system() as tx:
        await repository.lock_trees(tx)
        unbatched = await repository.list_unbatched(tx, MAX_LEAVES)
        if not unbatched:
            return 0
        hashes = [leaf for _, leaf in unbatched]
        tree = grow(clock.new_id(), hashes, await repository.find_last_tree(tx), clock.wall())
        paths = merkle.proofs(hashes, range(len(hashes)))
        await repository.add_tree(tx, tree, [(receipt_id, path) for (receipt_id, _), path in zip(unbatched, paths, strict=True)])
    return len(unbatched)


async def advance_anchor(db: Database, _clock: Clock, rail: AnchorRail, ids: Sequence[UUID] | None = None) -> int:
    """Publish the roots of trees that are not anchored yet. Returns how many trees moved on."""

    async def step(claim: Claim) -> bool:
        async with db.as_system() as tx:
            [tree] = await repository.find_trees(tx, [claim.id])
        if tree.state is not ReceiptState.BATCHED:
            return await _put_to_rest(db, receipt_trees, claim)
        return await _record_anchor(db, claim, tree, await _ask(rail.anchor(str(tree.tree_id), tree.memo)))

    return await _advance(db, receipt_trees, ids, step)


async def _record_anchor(db: Database, claim: Claim, tree: Tree, outcome: Outcome) -> bool:
    """Anything but a confirmation is tried again: a root that is not published proves nothing."""
    done = outcome.verdict is Verdict.CONFIRMED
    state = ReceiptState.ANCHORED if done else tree.state
    due_in_s = None if done else retry_in_s(claim.attempts)
    values = {"state": state, "state_reason": outcome.reason, "external_id": outcome.external_id}
    async with db.as_system() as tx:
        if not await claims.record(tx, receipt_trees, claim, due_in_s=due_in_s, **values):
            return False
        if done:
            await repository.mark_anchored(tx, tree.tree_id)
    return done


async def _advance(db: Database, table: sa.Table, ids: Sequence[UUID] | None, step: Callable[[Claim], Awaitable[bool]]) -> int:
    """Claim and work on due rows, a batch at a time, until none is left; a row may take several steps."""
    moved = 0
    for _ in range(MAX_ROUNDS):
        async with db.as_system() as tx:
            claimed = await claims.claim_due(tx, table, limit=BATCH, for_s=CLAIM_S, ids=ids)
        if not claimed:
            break
        results = await asyncio.gather(*(step(claim) for claim in claimed), return_exceptions=True)
        for result in results:  # every row had its turn before one that broke is told of
            if isinstance(result, BaseException):
                raise result
            moved += result
    return moved


async def _ask(call: Awaitable[RailResult]) -> Outcome:
    """What a rail's answer, or its silence, means."""
    try:
        async with asyncio.timeout(RAIL_TIMEOUT_S):
            result = await call
    except RailDeclined as declined:
        return Outcome(Verdict.DECLINED, reason=str(declined))
    except Exception as error:  # noqa: BLE001  whatever went wrong, the effect may have happened: only the same key may follow
        _log.warning("rail_outcome_unknown", error=type(error).__name__, detail=str(error))
        return Outcome(Verdict.UNKNOWN, reason=f"{type(error).__name__}: {error}")
    return Outcome(Verdict.CONFIRMED if result.confirmed else Verdict.ACCEPTED, result.external_id)


async def _put_to_rest(db: Database, table: sa.Table, claim: Claim) -> bool:
    """Nothing is left to do for this row: it is due no more."""
    async with db.as_system() as tx:
        await claims.record(tx, table, claim, due_in_s=None)
    return False
