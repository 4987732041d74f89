"""The loop that moves workloads: claim what is due, read the facts, plan, decide, record under the claim.

Safe to run anywhere, any number of times at once: the claim guards every write, and whatever dies in between is found by the next
sweep when its claim has run out.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import structlog

from gridbroker.broker import plan, repository
from gridbroker.broker.models import workloads
from gridbroker.broker.service import closing, placing
from gridbroker.broker.service.facts import Loaded, facts_of, load, spent_micro
from gridbroker.broker.service.market import Market, Question, ask, load_market, remaining_share
from gridbroker.broker.service.recording import ClaimLost
from gridbroker.broker.service.review import review
from gridbroker.core import claims
from gridbroker.core.claims import Claim
from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, Tx
from gridbroker.core.errors import GridbrokerError
from gridbroker.core.queue import Queue
from gridbroker.core.settings import Settings
from gridbroker.providers.lease import LeaseConflict
from gridbroker.settlement.data_integrity import Signer

CLAIM_S = 10.0
"""A step takes milliseconds; this is how long what a killed process was at stands still."""
BATCH = 20
MAX_BATCHES = 500
MAX_STEPS = 12
"""Steps in a row on one row: route, and settle after an end, follow at once; no state loops."""
WAKE_PER_FREED_GPU = 2
"""More than one, since the one that waited longest may not want this GPU."""
MAX_BACKOFF_S = 60.0

_log = structlog.get_logger()


class BrokerPorts(Protocol):
    """What the broker needs from the composition root."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def db(self) -> Database: ...
    @property
    def queue(self) -> Queue: ...
    @property
    def signer(self) -> Signer: ...
    @property
    def routing_lock(self) -> asyncio.Lock:
        """Held while this process routes, so that its own tasks do not race for one GPU; other processes may."""
        ...


async def advance(ports: BrokerPorts, ids: Sequence[UUID] | None) -> int:
    """Move the workloads hinted at, or with None everything that is due. Returns how many steps were recorded."""
    steps = 0
    for _ in range(MAX_BATCHES):
        async with ports.db.as_system() as tx:
            claimed = await claims.claim_due(tx, workloads, limit=BATCH, for_s=CLAIM_S, ids=ids)
        look = _Look(ports)
        for claim in claimed:
            steps += await _advance_row(ports, claim, look)
        if ids is not None or len(claimed) < BATCH:
            break
    return steps


class _Look:
    """The market as the rows of one batch see it: read after they were claimed, so none misses what made it due, and read again
    once one of them took a place."""

    def __init__(self, ports: BrokerPorts) -> None:
        self._ports = ports
        self._market: Market | None = None

    async def market(self) -> Market:
        if self._market is None:
            async with self._ports.db.as_system(repeatable=True) as tx:
                self._market = await load_market(tx, self._ports.clock.now())
        return self._market

    def forget(self) -> None:
        self._market = None


async def _advance_row(ports: BrokerPorts, claim: Claim, look: _Look) -> int:
    """Step one workload until it is not due any more. News that came meanwhile left it due."""
    steps = 0
    current: Claim | None = claim
    while current is not None and steps < MAX_STEPS:
        due = await _try_step(ports, current, look)
        if due is None:
            break
        steps += 1
        current = await _claim_again(ports, claim) if due else None
        look = _Look(ports)
    return steps


async def _claim_again(ports: BrokerPorts, claim: Claim) -> Claim | None:
    async with ports.db.as_system() as tx:
        again = await claims.claim_due(tx, workloads, limit=1, for_s=CLAIM_S, ids=[claim.id])
    return again[0] if again else None


async def _try_step(ports: BrokerPorts, claim: Claim, look: _Look) -> bool | None:
    """One step, and whether the row may be due again; None when it was not recorded. Failures give the row back with a delay and
    never stop the loop."""
    try:
        return await step(ports, claim, look)
    except ClaimLost:
        _log.info("claim_lost", workload_id=str(claim.id))
    except LeaseConflict:
        look.forget()
        await _give_back(ports, claim, 0)
        ports.queue.hint("workload.advance", claim.id)
    except GridbrokerError as error:
        _log.warning("step_postponed", workload_id=str(claim.id), code=error.code, detail=error.detail)
        await _give_back(ports, claim, _backoff_s(claim))
    except Exception:  # noqa: BLE001  (one row that cannot be worked on must not keep the others from being looked at)
        _log.exception("step_failed", workload_id=str(claim.id))
        await _give_back(ports, claim, _backoff_s(claim))
    return None


def _backoff_s(claim: Claim) -> float:
    return min(MAX_BACKOFF_S, 0.5 * 2 ** min(claim.attempts, 8))


async def step(ports: BrokerPorts, claim: Claim, look: _Look) -> bool:
    """Load, plan and record one action; whether the row may be due again. Raises ClaimLost, LeaseConflict, or what kept it from
    being recorded."""
    async with ports.db.as_system() as tx:
        loaded = await load(tx, claim.id)
    assert loaded is not None, "claimed rows exist"
    interval = timedelta(seconds=ports.settings.review_interval_s)
    facts = facts_of(loaded, ports.clock, review_interval=interval)
    action = plan.next_action(facts, now=ports.clock.now(), wall=ports.clock.wall())
    match action:
        case plan.Route():
            return await _route(ports, claim, loaded, look)
        case plan.Review():
            await review(ports.db, ports.clock, claim, loaded, interval)
            return True
        case _:
            return await _record(ports, claim, loaded, action)


async def _route(ports: BrokerPorts, claim: Claim, loaded: Loaded, look: _Look) -> bool:
    async with ports.routing_lock:
        market = await look.market()
        question = Question(
            remaining_share=remaining_share(loaded.workload, loaded.resume_step),
            budget_micro=loaded.workload.hold_micro - spent_micro(loaded, market.at),
            exclude_nodes=loaded.refused_by,
        )
        route = ask(market, loaded.workload.spec, question)
        async with ports.db.as_system() as tx:
            if await placing.routed(tx, ports.clock, claim, loaded, market, question, route):
                look.forget()
            return await repository.is_due(tx, claim.id)


async def _record(ports: BrokerPorts, claim: Claim, loaded: Loaded, action: plan.Action) -> bool:
    clock = ports.clock
    woken: list[UUID] = []
    hints: list[tuple[str, UUID]] = []
    async with ports.db.as_system() as tx:
        match action:
            case plan.Wait():
                await claims.record(tx, workloads, claim, due_in_s=placing.wait_s(action, clock))
            case plan.MarkRunning():
                await placing.running(tx, clock, claim, loaded, action, timedelta(seconds=ports.settings.review_interval_s))
            case plan.Stop():
                await placing.stopping(tx, clock, claim, loaded, action)
            case plan.Switch():
                woken = await _wake(tx, claim, await placing.switched(tx, clock, claim, loaded, action))
            case plan.EndPlacement():
                woken = await _wake(tx, claim, await closing.end_placement(tx, clock, claim, loaded, action))
            case plan.Finish():
                await closing.finish(tx, claim, loaded, action)
            case plan.Settle():
                settled = await closing.settle(tx, clock, ports.signer, ports.settings.issuer_url, claim, loaded)
                hints = [("payout.advance", payout_id) for payout_id in settled.payout_ids]
            case plan.Route() | plan.Review():
                raise AssertionError("handled by step")
        due = await repository.is_due(tx, claim.id)
    for name, row_id in [*(("workload.advance", workload_id) for workload_id in woken), *hints]:
        ports.queue.hint(name, row_id)
    return due


async def _wake(tx: Tx, claim: Claim, freed_gpus: int) -> list[UUID]:
    """Others that wait: a program that just failed keeps its delay."""
    return await repository.wake_waiting(tx, freed_gpus * WAKE_PER_FREED_GPU, but=claim.id) if freed_gpus else []


async def _give_back(ports: BrokerPorts, claim: Claim, delay_s: float) -> None:
    async with ports.db.as_system() as tx:
        await claims.record(tx, workloads, claim, due_in_s=delay_s)


async def wake_waiting(tx: Tx, limit: int) -> list[UUID]:
    """Make the longest waiting workloads due. Returns whom to hint."""
    return await repository.wake_waiting(tx, limit)


async def wake_on_nodes(tx: Tx, node_ids: Sequence[UUID]) -> list[UUID]:
    """Make the workloads on lost nodes due. Returns whom to hint."""
    if not node_ids:
        return []
    workload_ids = sorted({workload_id for _, workload_id in await repository.open_placements_on(tx, node_ids)})
    for workload_id in workload_ids:
        await claims.wake(tx, workloads, workload_id)
    return workload_ids
