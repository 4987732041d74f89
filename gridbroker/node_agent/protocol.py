"""What the node agent and the server say to each other: plain dataclasses, standard library only, JSON on the wire.

The agent only calls out. It asks for its *orders*, which are the whole desired state of the node, and makes the machine match:
a placement that is ordered runs, one that is ordered to stop stops, one that is no longer listed is killed. Every order carries
the lease epoch; a report, checkpoint or log under another epoch than the server's is refused with code `stale_epoch`, so a node
that was cut off cannot overwrite what came after it. Times are RFC 3339 UTC in grid time; `sent_at` is wall time.

| call | body -> answer |
|---|---|
| POST /api/v1/nodes | NodeRegistration -> NodeCredentials (the one-time token is the credential) |
| POST /api/v1/nodes/self/heartbeat | Heartbeat -> HeartbeatAck |
| GET /api/v1/nodes/self/orders?version=N&wait_s=S | -> Orders (answers at once when its version is not N, else within S seconds) |
| POST /api/v1/nodes/self/placements/{id}/reports | Report -> 204; idempotent by (placement, epoch, seq) |
| POST /api/v1/nodes/self/placements/{id}/logs | LogBatch -> LogAck |
| POST /api/v1/nodes/self/samples | SampleBatch -> SampleAck; idempotent by (node, boot_id, gpu_index, seq) |
| HEAD/PUT/GET /api/v1/nodes/self/placements/{id}/blobs/{sha256} | raw bytes; PUT answers 422 `hash_mismatch` when they differ |
| POST /api/v1/nodes/self/placements/{id}/checkpoints | CheckpointCommit -> CheckpointAck; after all its blobs are there |
"""

from dataclasses import dataclass, field
from enum import StrEnum

MAX_SAMPLES_PER_BATCH = 1000
MAX_LOG_LINES_PER_BATCH = 500
MAX_LOG_LINE_CHARS = 8192
MAX_ORDERS_WAIT_S = 30


class EnergyKind(StrEnum):
    MEASURED = "measured"
    """A hardware energy counter."""
    ESTIMATED = "estimated"
    """Integrated from measured power."""
    MODELLED = "modelled"
    """From a model of the GPU; nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRegistration:
    token: str
    name: str
    zone: str
    gpu_model: str
    gpu_count: int
    price_eur_per_gpu_hour: str | None = None
    """Decimal string, excluding nothing: what the customer pays. Default: the rate card's price for the model."""
    pue: float = 1.0
    """Power usage effectiveness of the site: facility energy per IT energy, at least 1."""
    energy_kind: EnergyKind = EnergyKind.MODELLED
    backends: tuple[str, ...] = ("process",)
    agent_version: str = ""
    sent_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCredentials:
    node_id: str
    key: str
    """Bearer key for every later call; shown once."""
    heartbeat_interval_s: float
    server_time: str
    gpu_idle_w: float
    """Idle and highest power of one GPU from the catalogue: what a node without a counter models its energy from."""
    gpu_max_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuStatus:
    index: int
    utilisation: float
    """0 to 1: share of time with a kernel running; modelled nodes report the share of the power model."""
    power_w: float
    temperature_c: float | None = None
    memory_used_mib: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPlacement:
    placement_id: str
    epoch: int
    running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    sent_at: str
    gpus: tuple[GpuStatus, ...] = ()
    placements: tuple[HeldPlacement, ...] = ()
    spool_backlog: int = 0
    """Messages that the agent still holds because the server was not reachable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatAck:
    server_time: str
    clock_skew_s: float
    in_service_again: bool = False
    """This heartbeat brought the node to service, for the first time or back."""


class Action(StrEnum):
    RUN = "run"
    CHECKPOINT_AND_STOP = "checkpoint_and_stop"
    """SIGTERM, then SIGKILL after the grace; the newest committed checkpoint is uploaded before `exited` is reported."""
    KILL = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFile:
    path: str
    """Relative POSIX path inside the checkpoint folder; no `..`, not absolute."""
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    checkpoint_id: str
    step: int
    files: tuple[CheckpointFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    placement_id: str
    epoch: int
    action: Action
    workload_id: str
    attempt: int
    """1 for the first placement of the workload, then counting up."""
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict[str, str])
    gpu_indices: tuple[int, ...] = ()
    grace_s: int = 30
    checkpoint_interval_s: int = 0
    """Wall seconds between two SIGUSR1; 0: the program checkpoints by itself or not at all."""
    checkpoint_signal: bool = False
    """The program traps SIGUSR1. Never sent otherwise: its default action kills."""
    cpu_seconds_limit: int | None = None
    memory_limit_mib: int | None = None
    load_hint: float = 1.0
    """Share of the power range that the model assumes for this workload, 0 to 1; ignored where energy is measured."""
    resume: ResumePoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    version: int
    orders: tuple[Order, ...]


class ReportKind(StrEnum):
    RUNNING = "running"
    """The process runs (again)."""
    PROGRESS = "progress"
    EXITED = "exited"
    """The process ended; all its samples, logs and checkpoints were delivered before this report."""
    REFUSED = "refused"
    """The order could not be carried out here (bad command, missing backend): `reason` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    epoch: int
    seq: int
    """Counts up from 1 within one placement."""
    kind: ReportKind
    at: str
    step: int | None = None
    total_steps: int | None = None
    exit_code: int | None = None
    """As a shell gives it: 0 done, 75 checkpointed and to be resumed, 128+n killed by signal n."""
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    seq: int
    """Counts up from 1 within one placement, over both streams."""
    at: str
    stream: str
    """`stdout` or `stderr`"""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch:
    epoch: int
    lines: tuple[LogLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAck:
    accepted: int
    """How many lines were new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    seq: int
    """Counts up from 1 within one boot of the agent and one GPU."""
    gpu_index: int
    at: str
    energy_mj: int
    """The GPU's energy counter since the agent booted: never falls within one boot_id."""
    power_w: float
    utilisation: float
    kind: EnergyKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBatch:
    boot_id: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleAck:
    accepted: int
    duplicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointCommit:
    epoch: int
    step: int
    files: tuple[CheckpointFile, ...]
    manifest_sha256: str
    """Of `manifest_bytes(files)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointAck:
    checkpoint_id: str


def manifest_bytes(files: tuple[CheckpointFile, ...]) -> bytes:
    """What a checkpoint's hash is taken over: one `sha256  bytes  path` line per file, sorted by path, UTF-8."""
    lines = (f"{file.sha256}  {file.bytes}  {file.path}\n" for file in files)
    return "".join(sorted(lines, key=lambda line: line.split("  ", 2)[2])).encode()
