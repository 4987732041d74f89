"""The real backend: orders are rows that the node's agent reads by long poll; each change rings the node's bell."""

from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from gridbroker.core.claims import NOW
from gridbroker.core.db import Database, Tx
from gridbroker.core.errors import NotFound
from gridbroker.node_agent.protocol import Order, Orders
from gridbroker.providers.backends.base import NodeOrder
from gridbroker.providers.backends.bell import CHANNEL
from gridbroker.providers.lease import check_epoch
from gridbroker.providers.models import nodes, orders


class AgentBackend:
    """Backend over the `orders` table, in transactions of its own."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def apply(self, order: NodeOrder) -> None:
        async with self._db.as_system() as tx:
            await apply_in(tx, order)

    async def forget(self, placement_id: UUID) -> None:
        async with self._db.as_system() as tx:
            await forget_in(tx, placement_id)


async def apply_in(tx: Tx, order: NodeOrder) -> None:
    """`Backend.apply` inside the caller's transaction (system role), so that an order stands if and only if its lease does.

    Locks the node's row until then: whoever orders on several nodes in one transaction goes by ascending node id.
    """
    if await _upsert(tx, order):
        await _announce(tx, order.node_id)
        return
    known = await tx.scalar(sa.select(orders.c.epoch).where(orders.c.placement_id == UUID(order.order.placement_id)))
    check_epoch(order.order.epoch, order.order.epoch if known is None else known)


async def forget_in(tx: Tx, placement_id: UUID) -> None:
    """`Backend.forget` inside the caller's transaction (system role)."""
    gone = await tx.scalar(orders.delete().where(orders.c.placement_id == placement_id).returning(orders.c.node_id))
    if gone is not None:
        await _announce(tx, gone)


async def read_orders(tx: Tx, node_id: UUID) -> Orders:
    """All that a node shall do, and the version of it, read at one instant. Raises NotFound."""
    query = (
        sa.select(nodes.c.orders_version, orders.c.body)
        .outerjoin(orders, orders.c.node_id == nodes.c.id)
        .where(nodes.c.id == node_id)
        .order_by(orders.c.placement_id)
    )
    rows = (await tx.execute(query)).all()
    if not rows:
        raise NotFound("There is no such node.")
    bodies = [row.body for row in rows if row.body is not None]
    return Orders(version=rows[0].orders_version, orders=msgspec.convert(bodies, tuple[Order, ...]))


async def _upsert(tx: Tx, order: NodeOrder) -> bool:
    """False when nothing changed: the same order is there already, or one of a higher epoch."""
    values: dict[str, Any] = {
        "epoch": order.order.epoch,
        "action": order.order.action,
        "body": msgspec.to_builtins(order.order),
        "updated_at": NOW,
    }
    statement = insert(orders).values(
        placement_id=UUID(order.order.placement_id), org_id=order.org_id, node_id=order.node_id, **values
    )
    given = statement.excluded
    news = sa.or_(orders.c.epoch < given.epoch, sa.and_(orders.c.epoch == given.epoch, orders.c.body != given.body))
    result = await tx.execute(
        statement.on_conflict_do_update(index_elements=["placement_id"], set_={name: given[name] for name in values}, where=news)
    )
    return result.rowcount == 1


async def _announce(tx: Tx, node_id: UUID) -> None:
    await tx.execute(nodes.update().where(nodes.c.id == node_id).values(orders_version=nodes.c.orders_version + 1))
    await tx.execute(sa.select(sa.func.pg_notify(CHANNEL, str(node_id))))
