"""A workload's final usage: what ran where and when, its energy and emissions, and what it is compared with. Immutable."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSegment:
    """Energy of one placement within one hour of grid time. Segments never overlap and leave nothing out."""

    placement_id: UUID
    node_id: UUID
    provider_org_id: UUID
    zone: str
    from_at: datetime
    to_at: datetime
    energy_mj: int
    """IT energy at the GPUs, over all GPUs of the placement."""
    facility_energy_mj: int
    """IT energy times the site's PUE, rounded half to even."""
    energy_kind: str
    """`measured`, `estimated` or `modelled`; the weakest kind of the samples in it."""
    intensity_mg_per_kwh: int
    intensity_source: str
    intensity_quality: str
    emissions_mg: int
    """facility_energy_mj times intensity, location-based, average, rounded half to even."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementUsage:
    """What one placement is billed for."""

    placement_id: UUID
    node_id: UUID
    provider_org_id: UUID
    zone: str
    gpu_model: str
    gpu_count: int
    from_at: datetime
    to_at: datetime
    price_micro_per_gpu_hour: int
    energy_mj: int
    cost_micro: int


class Baseline(StrEnum):
    HOME_ZONE = "home_zone"
    """The same energy in the zone that the submitter named beforehand. The headline."""
    UNIFORM_FEASIBLE = "uniform_feasible"
    """The mean over the zones of all nodes that were feasible at submission, each node counted once."""
    BEST_FIXED_ZONE = "best_fixed_zone"
    """The single zone, of all feasible nodes, that would have emitted least over the run: hard to beat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """Emissions of the same IT energy under a named baseline; the difference is signed and never clipped."""

    baseline: Baseline
    zones: tuple[str, ...]
    emissions_mg: int
    avoided_mg: int
    """Baseline minus actual; negative when the actual run emitted more."""
    complete: bool
    """False when an intensity was missing and a neighbouring hour stood in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    statement_id: UUID
    workload_id: UUID
    org_id: UUID
    outcome: str
    """`completed`, `failed` or `cancelled`."""
    from_at: datetime
    to_at: datetime
    usages: tuple[PlacementUsage, ...]
    segments: tuple[StatementSegment, ...]
    energy_mj: int
    facility_energy_mj: int
    emissions_mg: int
    cost_micro: int
    counterfactuals: tuple[Counterfactual, ...]
    moves: int
    energy_kind: str
    """The weakest kind among the segments; `none` when nothing ran."""
    grid_quality: str
    """The weakest quality among the segments (measured > estimated > modelled); `none` when nothing ran."""
    clock_factor: int
    """Seconds of grid time per wall second. Above 1 the run was a simulation of time, and every figure is scaled by it."""
    method: str
    """Version of the rules that made these figures, such as `gridbroker-metering/1`."""
