"""A workload's specification, its states, and the moves between them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

MAX_MOVES = 5


class WorkloadState(StrEnum):
    SUBMITTED = "submitted"
    """Quoted and paid for by a hold; not placed yet."""
    WAITING = "waiting"
    """Routing found no place (yet); `state_reason` says why. Tried again, until the deadline cannot be met any more."""
    STARTING = "starting"
    """Leased; the node was ordered to run it."""
    RUNNING = "running"
    MIGRATING = "migrating"
    """The source was ordered to checkpoint and stop. A move has leased its target before; a pause has none and leads to waiting."""
    STOPPING = "stopping"
    """Ordered to stop for good: cancelled, completed by its owner, or its money is used up."""
    SETTLING = "settling"
    """Ended with an `outcome`; statement, postings and receipt are being written."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({WorkloadState.COMPLETED, WorkloadState.FAILED, WorkloadState.CANCELLED})

LEGAL_MOVES: dict[WorkloadState, frozenset[WorkloadState]] = {
    WorkloadState.SUBMITTED: frozenset({WorkloadState.WAITING, WorkloadState.STARTING, WorkloadState.SETTLING}),
    WorkloadState.WAITING: frozenset({WorkloadState.STARTING, WorkloadState.SETTLING}),
    WorkloadState.STARTING: frozenset(
        {WorkloadState.RUNNING, WorkloadState.WAITING, WorkloadState.STOPPING, WorkloadState.SETTLING}
    ),
    WorkloadState.RUNNING: frozenset(
        {WorkloadState.MIGRATING, WorkloadState.STOPPING, WorkloadState.WAITING, WorkloadState.SETTLING}
    ),
    WorkloadState.MIGRATING: frozenset(
        {WorkloadState.STARTING, WorkloadState.RUNNING, WorkloadState.WAITING, WorkloadState.STOPPING, WorkloadState.SETTLING}
    ),
    WorkloadState.STOPPING: frozenset({WorkloadState.SETTLING}),
    WorkloadState.SETTLING: ENDED,
    WorkloadState.COMPLETED: frozenset(),
    WorkloadState.FAILED: frozenset(),
    WorkloadState.CANCELLED: frozenset(),
}


def may_move(source: WorkloadState, target: WorkloadState) -> bool:
    return source is target or target in LEGAL_MOVES[source]


class PlacementState(StrEnum):
    RESERVED = "reserved"
    """Leased, not ordered to run: the target of a move."""
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


class EndReason(StrEnum):
    """Why a placement ended."""

    DONE = "done"
    CHECKPOINTED = "checkpointed"
    """It can be resumed: exit 75, or 143 after SIGTERM with a new commit."""
    FAILED = "failed"
    REFUSED = "refused"
    LOST = "lost"
    """The node went silent."""
    VOIDED = "voided"
    """Reserved for a move that did not happen."""
    STOPPED = "stopped"


EXIT_RESUME_ME = 75
EXIT_SIGTERM = 143


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec:
    """What a developer asks for. Checked at the edge (`broker.routes`), immutable afterwards."""

    name: str
    command: tuple[str, ...] = ()
    """What the `process` backend runs. Exactly one of command and image is given."""
    image: str | None = None
    """An OCI image with its own entry point, for nodes with the `container` backend."""
    gpu_model: str | None = None
    """Key of the GPU catalogue, or any model that fits."""
    gpu_count: int = 1
    vram_mib: int = 0
    """Per GPU."""
    expected_hours: float = 1.0
    """On the GPU asked for, or on the reference GPU; the owner's estimate."""
    budget_micro: int = 0
    """EUR micro-units; the hold, and the most that this workload can cost."""
    deadline_at: datetime | None = None
    green_only: bool = False
    """Only nodes that the compliance rules call green, now and over the planned run."""
    max_intensity_g_per_kwh: float | None = None
    """Hard cap on the planned mean carbon intensity."""
    allowed_zones: tuple[str, ...] = ()
    """Empty: all."""
    home_zone: str = "DE"
    """Where it would have run without a broker: the headline baseline. Declared before the decision."""
    environment: dict[str, str] = field(default_factory=dict[str, str])
    checkpoint: bool = False
    """The program honours the checkpoint contract; without it a workload is never moved."""
    checkpoint_signal: bool = False
    checkpoint_interval_s: int = 0
    checkpoint_mib: int = 1
    """Expected size, for the price of a move."""
    grace_s: int = 30
    load: float = 0.7
    """Expected share of the GPU's power range, for estimates and for modelled energy. 0.71 is the median of H100 LLM rows."""
    max_restarts: int = 3
    """After failures and lost nodes; moves do not count."""
    memory_limit_mib: int | None = None

    @property
    def backend(self) -> str:
        """What a node must offer to run this."""
        return "container" if self.image is not None else "process"
