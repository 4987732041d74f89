"""What a hint or a sweep sets in motion, by name. Every action takes the ids hinted at, or None for whatever is due."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from gridbroker.app.bootstrap import Ports
from gridbroker.broker import tasks as broker_tasks
from gridbroker.core.db import Tx
from gridbroker.grid import service as grid
from gridbroker.identity import service as identity
from gridbroker.identity.idempotency import KEEP_HOURS
from gridbroker.providers import service as providers
from gridbroker.settlement import tasks as settlement

Action = Callable[[Ports, Sequence[UUID] | None], Awaitable[int]]


async def advance_workloads(ports: Ports, ids: Sequence[UUID] | None) -> int:
    return await broker_tasks.advance(ports, ids)


async def advance_charges(ports: Ports, ids: Sequence[UUID] | None) -> int:
    return await settlement.advance_charge(ports.db, ports.clock, ports.queue, ports.card_rail, ids)


async def advance_payouts(ports: Ports, ids: Sequence[UUID] | None) -> int:
    return await settlement.advance_payout(ports.db, ports.clock, ports.queue, ports.payout_rail, ids)


async def batch_receipts(ports: Ports, _ids: Sequence[UUID] | None) -> int:
    return await settlement.batch_receipts(ports.db, ports.clock, ports.anchor_rail)


async def refresh_grid(ports: Ports, _ids: Sequence[UUID] | None) -> int:
    return await grid.refresh_from(ports.db, ports.clock, ports.grid_source)


async def find_lost_nodes(ports: Ports, _ids: Sequence[UUID] | None) -> int:
    """Mark silent nodes lost and make their workloads due."""

    async def mark(tx: Tx) -> list[UUID]:
        return await providers.mark_lost(tx, ports.clock, ports.settings.node_lost_after_s)

    async with ports.db.as_system() as tx:
        lost = await mark(tx)
        woken = await broker_tasks.wake_on_nodes(tx, lost)
    for workload_id in woken:
        ports.queue.hint("workload.advance", workload_id)
    return len(lost)


async def node_in_service(ports: Ports, ids: Sequence[UUID] | None) -> int:
    """A node came (back): as many as it has GPUs, of those who waited longest, look again."""
    async with ports.db.as_system() as tx:
        nodes = [await providers.get_node(tx, node_id) for node_id in ids or ()]
        woken = await broker_tasks.wake_waiting(tx, sum(len(node.free_gpus) for node in nodes))
    for workload_id in woken:
        ports.queue.hint("workload.advance", workload_id)
    return len(woken)


async def forget_answers(ports: Ports, _ids: Sequence[UUID] | None) -> int:
    async with ports.db.as_system() as tx:
        return await identity.forget_answers(tx, KEEP_HOURS)


BY_HINT: dict[str, Action] = {
    "workload.advance": advance_workloads,
    "charge.advance": advance_charges,
    "payout.advance": advance_payouts,
    "receipt.batch": batch_receipts,
    "grid.refresh": refresh_grid,
    "node.in_service": node_in_service,
}
