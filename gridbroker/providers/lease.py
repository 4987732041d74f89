"""Holds on GPUs, and the epoch that fences off whoever held them before."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gridbroker.core.errors import Conflict

MAX_GPUS_PER_NODE = 16


class LeaseConflict(Conflict):
    code, title = "lease_conflict", "A GPU of this placement was leased in the meantime"


class StaleEpoch(Conflict):
    code, title = "stale_epoch", "This belongs to a lease that is over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A hold on one GPU of a node. Open until `closed_at`; both times are grid time."""

    lease_id: UUID
    org_id: UUID
    """The provider's."""
    node_id: UUID
    gpu_index: int
    placement_id: UUID
    epoch: int
    opened_at: datetime
    closed_at: datetime | None


def free_gpus(gpu_count: int, taken: Collection[int]) -> tuple[int, ...]:
    """Indices of a node's GPUs that are not taken, ascending."""
    held = frozenset(taken)
    return tuple(index for index in range(gpu_count) if index not in held)


def check_epoch(given: int, known: int) -> None:
    """Epochs only ever rise: raises StaleEpoch for an order that is older than the one a placement has."""
    if given < known:
        raise StaleEpoch(f"The placement has orders of epoch {known} already; these are of {given}.")
