"""A workload's rows as values: what repository reads and writes, and everything else in the context passes around."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from gridbroker.broker.workload import PlacementState, WorkloadSpec, WorkloadState
from gridbroker.node_agent.protocol import CheckpointFile


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRow:
    workload_id: UUID
    org_id: UUID
    spec: WorkloadSpec
    state: WorkloadState
    state_reason: str | None
    outcome: WorkloadState | None
    stop_requested: str | None
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reviewed_at: datetime | None
    moves: int
    restarts: int
    placements: int
    step: int | None
    total_steps: int | None
    hold_micro: int
    spent_micro: int
    energy_mj: int
    feasible: list[list[Any]] | None
    """[node id, zone, PUE] of every node that was feasible at the first placement."""

    @property
    def feasible_nodes(self) -> list[tuple[UUID, str, float]]:
        return [(UUID(node_id), zone, float(pue)) for node_id, zone, pue in self.feasible or []]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRow:
    placement_id: UUID
    org_id: UUID
    provider_org_id: UUID
    workload_id: UUID
    node_id: UUID
    node_name: str
    zone: str
    gpu_model: str
    gpu_indices: tuple[int, ...]
    price_micro_per_gpu_hour: int
    pue: float
    number: int
    state: PlacementState
    end_reason: str | None
    decision_id: UUID
    resume_checkpoint_id: UUID | None
    leased_at: datetime
    ordered_wall_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    reported: str | None
    reported_seq: int
    reported_running_at: datetime | None
    reported_ended_at: datetime | None
    exit_code: int | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    checkpoint_id: UUID
    org_id: UUID
    workload_id: UUID
    placement_id: UUID
    number: int
    step: int
    bytes: int
    manifest_sha256: str
    files: tuple[CheckpointFile, ...]
    committed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    decision_id: UUID
    org_id: UUID
    workload_id: UUID
    kind: str
    outcome: str
    chosen_node_id: UUID | None
    decided_at: datetime
    policy_version: str
    snapshot: str
    inputs: dict[str, Any]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    event_id: UUID
    workload_id: UUID
    at: datetime
    kind: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    number: int
    seq: int
    at: datetime
    stream: str
    text: str
