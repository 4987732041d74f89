"""How placements are made to run: by writing down what a node shall do. Whatever carries it out reads it from there."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from gridbroker.node_agent.protocol import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOrder:
    """The desired state of one placement on one node."""

    node_id: UUID
    org_id: UUID
    """The provider's."""
    order: Order


class Backend(Protocol):
    async def apply(self, order: NodeOrder) -> None:
        """Make this the desired state of the order's placement. The same order twice is one.

        Raises StaleEpoch when the placement has an order of a higher epoch.
        """
        ...

    async def forget(self, placement_id: UUID) -> None:
        """Drop the placement from its node's orders: what still runs of it there is killed. Unknown placements are no error."""
        ...
