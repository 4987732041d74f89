"""A node as routing sees it: which GPUs it has, where, whose, at what price, and whether it can be trusted right now."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from uuid import UUID


class Tier(IntEnum):
    """The order in which the market is served. Follows from the provider's kind of organisation."""

    RECYCLER = 1
    DATACENTER = 2
    GAMER = 3


class Health(StrEnum):
    PENDING = "pending"
    """Registered, no heartbeat yet."""
    HEALTHY = "healthy"
    LOST = "lost"
    """No heartbeat for longer than the setting allows."""
    DRAINING = "draining"
    """Keeps what runs, takes nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    node_id: UUID
    org_id: UUID
    name: str
    zone: str
    tier: Tier
    gpu_model: str
    """Key of the GPU catalogue (`providers.gpu`)."""
    gpu_count: int
    free_gpus: tuple[int, ...]
    """Indices without an open lease."""
    price_micro_per_gpu_hour: int
    """EUR micro-units that the customer pays."""
    pue: float
    health: Health
    energy_kind: str
    """`measured`, `estimated` or `modelled` (node_agent.protocol.EnergyKind)."""
    backends: tuple[str, ...]
    version: int
    """Of these facts, free GPUs aside; each change writes a new version."""

    @property
    def busy_share(self) -> float:
        return 1 - len(self.free_gpus) / self.gpu_count
