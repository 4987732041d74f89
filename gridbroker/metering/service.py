"""Use cases of metering: keep samples, attribute energy to subjects, close statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from uuid import UUID

from gridbroker.core.db import Tx
from gridbroker.core.errors import NotFound
from gridbroker.core.units import hour_floor
from gridbroker.grid.intensity import SettledIntensity
from gridbroker.grid.service import settled_intensities
from gridbroker.grid.signal import Quality
from gridbroker.metering import repository
from gridbroker.metering.closing import PlacementFacts, StatementFacts, draw_up
from gridbroker.metering.conservation import Attributed, GpuAccount, account
from gridbroker.metering.energy import EnergyCurve, by_hour, curve_of, hour_cuts
from gridbroker.metering.footprint import EnergySlice, Intensities, Intensity, pue_milli
from gridbroker.metering.repository import MeterEvent, StatementSummary
from gridbroker.metering.sample import MAX_AHEAD, check_batch, weaker
from gridbroker.metering.statement import Statement
from gridbroker.node_agent.protocol import EnergyKind, SampleAck, SampleBatch

MAX_EXTRAPOLATION_WALL_S = 60
"""How long a GPU is assumed to go on at its last power when no reading follows; samples come every few seconds."""
LOOK_AROUND = timedelta(days=7)
"""How far a neighbouring hour may lie that stands in for a missing intensity."""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterRequest:
    """Which GPUs a subject held, from when to when."""

    subject_id: UUID
    """A placement."""
    org_id: UUID
    """The customer."""
    provider_org_id: UUID
    node_id: UUID
    zone: str
    gpu_indices: tuple[int, ...]
    start: datetime
    end: datetime
    """When the placement ended, or now while it runs."""
    clock_factor: int = 1


async def ingest(
    tx: Tx, batch: SampleBatch, *, org_id: UUID, node_id: UUID, gpu_count: int, now: datetime, clock_factor: int = 1
) -> SampleAck:
    """Keep a batch of samples; those already known are counted and left alone. Raises BadSamples, then nothing is kept.

    `org_id` is the provider's; `now` is grid time, which runs `clock_factor` times as fast as the clocks that may differ.
    """
    readings = check_batch(batch, gpu_count=gpu_count, now=now, max_ahead=MAX_AHEAD * clock_factor)
    accepted = await repository.add_samples(tx, org_id, node_id, readings) if readings else 0
    return SampleAck(accepted=accepted, duplicates=len(readings) - accepted)


async def meter(tx: Tx, request: MeterRequest) -> int:
    """Write a subject's energy per GPU and clock hour, and return their sum in mJ. System role.

    May be repeated with a later end or after late samples: the events follow, until a statement has closed them.
    """
    curves = await _curves(tx, request.node_id, request.gpu_indices, request.start, request.end, clock_factor=request.clock_factor)
    events = [event for gpu_index, curve in curves.items() for event in _events(request, gpu_index, curve)]
    await repository.put_events(tx, request.subject_id, events, request.end)
    return await repository.energy_of(tx, request.subject_id)


async def energy_to_date(
    tx: Tx, node_id: UUID, gpu_indices: Sequence[int], start: datetime, end: datetime, *, clock_factor: int = 1
) -> tuple[int, str]:
    """Energy of these GPUs so far, mJ, and its weakest kind. System or provider role; writes nothing."""
    curves = (await _curves(tx, node_id, gpu_indices, start, end, clock_factor=clock_factor)).values()
    kind = reduce(weaker, (curve.kind(start, end) for curve in curves), EnergyKind.MEASURED)
    return sum(curve.energy_mj(start, end) for curve in curves), str(kind)


async def gpu_account(
    tx: Tx, node_id: UUID, gpu_index: int, start: datetime, end: datetime, *, clock_factor: int = 1
) -> GpuAccount:
    """Where one GPU's energy went. The span is widened to hold the events at its edges whole. System role."""
    events = await repository.events_on_gpu(tx, node_id, gpu_index, start, end)
    start = min([start, *(event.from_at for event in events)])
    end = max([end, *(event.to_at for event in events)])
    curves = await _curves(tx, node_id, [gpu_index], start, end, clock_factor=clock_factor)
    spans = [Attributed(event.subject_id, event.from_at, event.to_at, event.energy_mj) for event in events]
    return account(curves[gpu_index], start, end, spans)


async def close_statement(tx: Tx, clock_now: datetime, facts: StatementFacts) -> Statement:
    """The final statement of an ended workload, written once: a second call returns the first one's. System role.

    Meters every placement over its whole span first. Raises IntensityMissing (503, try again) while a zone's grid data lack.
    """
    if (stored := await repository.find_statement(tx, facts.workload_id)) is not None:
        return stored
    for placement in facts.placements:
        await meter(tx, _request(facts, placement))
    subject_ids = [placement.placement_id for placement in facts.placements]
    slices = _slices(facts, await repository.events_of(tx, subject_ids))
    statement = draw_up(facts, slices, await _intensities(tx, facts, slices))
    if not await repository.add_statement(tx, statement, clock_now):
        return await statement_of(tx, facts.workload_id)
    await repository.close_events(tx, subject_ids)
    return statement


async def statement_of(tx: Tx, workload_id: UUID) -> Statement:
    """Raises NotFound while the workload has none."""
    statement = await repository.find_statement(tx, workload_id)
    if statement is None:
        raise NotFound("This workload has no statement (yet); one is written when it has ended.")
    return statement


async def list_statements(tx: Tx, org_id: UUID, before: UUID | None, limit: int) -> list[StatementSummary]:
    return await repository.list_statements(tx, org_id, before, limit)


async def _curves(
    tx: Tx, node_id: UUID, gpu_indices: Sequence[int], start: datetime, end: datetime, *, clock_factor: int
) -> dict[int, EnergyCurve]:
    readings = await repository.find_readings(tx, node_id, gpu_indices, start, end)
    reach_s = MAX_EXTRAPOLATION_WALL_S * clock_factor
    return {
        index: curve_of([reading for reading in readings if reading.gpu_index == index], max_extrapolation_s=reach_s)
        for index in gpu_indices
    }


def _events(request: MeterRequest, gpu_index: int, curve: EnergyCurve) -> list[MeterEvent]:
    return [
        MeterEvent(
            subject_id=request.subject_id,
            org_id=request.org_id,
            provider_org_id=request.provider_org_id,
            node_id=request.node_id,
            gpu_index=gpu_index,
            zone=request.zone,
            from_at=hour.from_at,
            to_at=hour.to_at,
            energy_mj=hour.energy_mj,
            energy_kind=hour.kind,
        )
        for hour in by_hour(curve, request.start, request.end)
    ]


def _request(facts: StatementFacts, placement: PlacementFacts) -> MeterRequest:
    return MeterRequest(
        subject_id=placement.placement_id,
        org_id=facts.org_id,
        provider_org_id=placement.provider_org_id,
        node_id=placement.node_id,
        zone=placement.zone,
        gpu_indices=placement.gpu_indices,
        start=placement.started_at,
        end=placement.ended_at,
        clock_factor=facts.clock_factor,
    )


def _slices(facts: StatementFacts, events: Sequence[MeterEvent]) -> list[EnergySlice]:
    """The events of a placement's GPUs, added up hour by hour."""
    pues = {placement.placement_id: pue_milli(placement.pue) for placement in facts.placements}
    hours: dict[tuple[UUID, datetime], list[MeterEvent]] = {}
    for event in events:
        hours.setdefault((event.subject_id, event.from_at), []).append(event)
    return [
        EnergySlice(
            placement_id=subject_id,
            node_id=of_gpus[0].node_id,
            provider_org_id=of_gpus[0].provider_org_id,
            zone=of_gpus[0].zone,
            pue_milli=pues[subject_id],
            from_at=from_at,
            to_at=of_gpus[0].to_at,
            energy_mj=sum(event.energy_mj for event in of_gpus),
            kind=reduce(weaker, (event.energy_kind for event in of_gpus)),
        )
        for (subject_id, from_at), of_gpus in hours.items()
    ]


async def _intensities(tx: Tx, facts: StatementFacts, slices: Sequence[EnergySlice]) -> Intensities:
    """Settled intensities of every zone that the statement speaks of, with their neighbours in time where some are missing.

    Grid fills a hole of up to a day from the hours before it and then calls the value `estimated`, as it does what its source
    estimated; no baseline that rests on such a value is called complete.
    """
    if not slices:
        return Intensities({})
    zones = sorted({facts.home_zone, *(piece.zone for piece in slices), *(zone for _, zone, _ in facts.feasible)})
    start = hour_floor(min(piece.from_at for piece in slices) - facts.waited)
    end = max(piece.to_at for piece in slices)
    settled = await settled_intensities(tx, zones, start, end)
    if len(settled) < len(zones) * (len(hour_cuts(start, end)) - 1):
        settled = await settled_intensities(tx, zones, start - LOOK_AROUND, end + LOOK_AROUND)
    return Intensities({key: _intensity(found) for key, found in settled.items()})


def _intensity(found: SettledIntensity) -> Intensity:
    exact = found.quality is not Quality.ESTIMATED
    return Intensity(found.mg_per_kwh, found.source, str(found.quality), exact)
