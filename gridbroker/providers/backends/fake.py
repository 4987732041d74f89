"""The backend's twin in memory, driven by tests and simulations."""

from collections import defaultdict
from uuid import UUID

from gridbroker.node_agent.protocol import Order, Orders
from gridbroker.providers.backends.base import NodeOrder
from gridbroker.providers.lease import check_epoch


class FakeBackend:
    def __init__(self) -> None:
        self._orders: dict[UUID, NodeOrder] = {}
        self._versions: defaultdict[UUID, int] = defaultdict(int)

    async def apply(self, order: NodeOrder) -> None:
        placement_id = UUID(order.order.placement_id)
        known = self._orders.get(placement_id)
        if known is not None:
            check_epoch(order.order.epoch, known.order.epoch)
        if known is None or known.order != order.order:
            self._orders[placement_id] = order
            self._versions[order.node_id] += 1

    async def forget(self, placement_id: UUID) -> None:
        gone = self._orders.pop(placement_id, None)
        if gone is not None:
            self._versions[gone.node_id] += 1

    def orders_of(self, node_id: UUID) -> Orders:
        """What the node's agent would be told."""
        mine: list[Order] = [one.order for one in self._orders.values() if one.node_id == node_id]
        return Orders(version=self._versions[node_id], orders=tuple(sorted(mine, key=lambda order: order.placement_id)))
