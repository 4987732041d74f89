"""Drawing up a statement: facts of the run, metered slices and settled intensities in, one immutable statement out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from uuid import UUID

from gridbroker.core.ids import derive
from gridbroker.core.units import emissions_mg, hour_floor
from gridbroker.metering.footprint import (
    EnergySlice,
    FeasibleNode,
    Intensities,
    counterfactuals,
    facility_energy_mj,
    pue_milli,
    weakest_quality,
)
from gridbroker.metering.sample import weaker
from gridbroker.metering.statement import PlacementUsage, Statement, StatementSegment

METHOD = "gridbroker-metering/1"
NOTHING_RAN = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementFacts:
    """One placement that ran, as the broker knows it. Placements that never started are not listed."""

    placement_id: UUID
    node_id: UUID
    provider_org_id: UUID
    zone: str
    pue: float
    gpu_model: str
    gpu_indices: tuple[int, ...]
    started_at: datetime
    ended_at: datetime
    price_micro_per_gpu_hour: int
    cost_micro: int
    """What it is billed, rated by pricing (`pricing.rating`), which stands above metering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFacts:
    workload_id: UUID
    org_id: UUID
    outcome: str
    """`completed`, `failed` or `cancelled`."""
    submitted_at: datetime
    home_zone: str
    feasible: tuple[tuple[UUID, str, float], ...]
    """(node, zone, PUE) of every node that was feasible at submission."""
    placements: tuple[PlacementFacts, ...]
    moves: int
    clock_factor: int

    @property
    def waited(self) -> timedelta:
        """From submission to the first start."""
        first_start = min((placement.started_at for placement in self.placements), default=self.submitted_at)
        return max(timedelta(), first_start - self.submitted_at)


def draw_up(facts: StatementFacts, slices: Sequence[EnergySlice], intensities: Intensities) -> Statement:
    """The statement of an ended workload; one that never ran gets zeros. Raises IntensityMissing (try again later)."""
    placements = sorted(facts.placements, key=lambda placement: (placement.started_at, placement.placement_id))
    in_time = sorted(slices, key=lambda piece: (piece.from_at, piece.placement_id))
    segments = tuple(_segment(piece, intensities) for piece in in_time)
    usages = tuple(_usage(placement, segments) for placement in placements)
    actual_mg = sum(segment.emissions_mg for segment in segments)
    baselines = counterfactuals(
        slices,
        intensities,
        actual_mg=actual_mg,
        home_zone=facts.home_zone,
        waited=facts.waited,
        feasible=[FeasibleNode(node_id, zone, pue_milli(pue)) for node_id, zone, pue in facts.feasible],
    )
    return Statement(
        statement_id=derive("statement", facts.workload_id),
        workload_id=facts.workload_id,
        org_id=facts.org_id,
        outcome=facts.outcome,
        from_at=placements[0].started_at if placements else facts.submitted_at,
        to_at=max((placement.ended_at for placement in placements), default=facts.submitted_at),
        usages=usages,
        segments=segments,
        energy_mj=sum(segment.energy_mj for segment in segments),
        facility_energy_mj=sum(segment.facility_energy_mj for segment in segments),
        emissions_mg=actual_mg,
        cost_micro=sum(usage.cost_micro for usage in usages),
        counterfactuals=baselines,
        moves=facts.moves,
        energy_kind=str(reduce(weaker, (piece.kind for piece in slices))) if slices else NOTHING_RAN,
        grid_quality=weakest_quality([segment.intensity_quality for segment in segments], NOTHING_RAN),
        clock_factor=facts.clock_factor,
        method=METHOD,
    )


def _segment(piece: EnergySlice, intensities: Intensities) -> StatementSegment:
    intensity = intensities.find(piece.zone, hour_floor(piece.from_at))
    facility_mj = facility_energy_mj(piece.energy_mj, piece.pue_milli)
    return StatementSegment(
        placement_id=piece.placement_id,
        node_id=piece.node_id,
        provider_org_id=piece.provider_org_id,
        zone=piece.zone,
        from_at=piece.from_at,
        to_at=piece.to_at,
        energy_mj=piece.energy_mj,
        facility_energy_mj=facility_mj,
        energy_kind=str(piece.kind),
        intensity_mg_per_kwh=intensity.mg_per_kwh,
        intensity_source=intensity.source,
        intensity_quality=intensity.quality,
        emissions_mg=emissions_mg(facility_mj, intensity.mg_per_kwh),
    )


def _usage(placement: PlacementFacts, segments: Sequence[StatementSegment]) -> PlacementUsage:
    own = [segment for segment in segments if segment.placement_id == placement.placement_id]
    return PlacementUsage(
        placement_id=placement.placement_id,
        node_id=placement.node_id,
        provider_org_id=placement.provider_org_id,
        zone=placement.zone,
        gpu_model=placement.gpu_model,
        gpu_count=len(placement.gpu_indices),
        from_at=placement.started_at,
        to_at=placement.ended_at,
        price_micro_per_gpu_hour=placement.price_micro_per_gpu_hour,
        energy_mj=sum(segment.energy_mj for segment in own),
        cost_micro=placement.cost_micro,
    )
