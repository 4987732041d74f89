"""Submitting a workload, and asking one to stop."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from gridbroker.broker import repository
from gridbroker.broker.models import workloads
from gridbroker.broker.policy import DEFAULT_POLICY
from gridbroker.broker.rows import EventRow, WorkloadRow
from gridbroker.broker.workload import ENDED, WorkloadSpec, WorkloadState
from gridbroker.core.claims import wake
from gridbroker.core.clock import Clock
from gridbroker.core.db import Tx
from gridbroker.core.errors import Conflict, NotFound
from gridbroker.grid.signal import Outlook
from gridbroker.metering.estimation import estimate_energy
from gridbroker.pricing import rate_card
from gridbroker.pricing import service as pricing
from gridbroker.pricing.quote import Quote, Range, make_quote
from gridbroker.providers.gpu import find
from gridbroker.settlement import service as settlement

QUOTE_VALID_FOR = timedelta(hours=1)
UNKNOWN_INTENSITY_MG_PER_KWH = Range(0, round(DEFAULT_POLICY.reference.intensity_g_per_kwh * 1000), 1_000_000)
"""When no zone is known yet: the reference, inside a range that says so."""


async def submit(
    tx: Tx, clock: Clock, org_id: UUID, spec: WorkloadSpec, outlooks: Mapping[str, Outlook]
) -> tuple[WorkloadRow, Quote]:
    """Write the workload, its quote and the hold on its budget, all or nothing. Raises InsufficientFunds."""
    workload = _new_workload(clock, org_id, spec)
    quote = quote_of(clock, workload.workload_id, spec, outlooks)
    await repository.add_workload(tx, workload)
    await pricing.save_quote(tx, quote, org_id)
    await settlement.place_hold(tx, org_id, workload.workload_id, spec.budget_micro)
    event = EventRow(
        event_id=clock.new_id(),
        workload_id=workload.workload_id,
        at=workload.submitted_at,
        kind="submitted",
        detail={"hold_micro": spec.budget_micro, "quote_id": str(quote.quote_id)},
    )
    await repository.add_event(tx, event, org_id)
    return workload, quote


def quote_of(clock: Clock, workload_id: UUID, spec: WorkloadSpec, outlooks: Mapping[str, Outlook]) -> Quote:
    """What the run is expected to take before any place is chosen: list price, power model, and the range of the open zones."""
    model = find(spec.gpu_model or DEFAULT_GPU)
    quote = make_quote(
        quote_id=clock.new_id(),
        workload_id=workload_id,
        gpu_count=spec.gpu_count,
        hours=spec.expected_hours,
        price_micro_per_gpu_hour=rate_card.price_micro_per_gpu_hour(model.key, model.vram_mib),
        energy=estimate_energy(
            idle_w=model.idle_w, tdp_w=model.tdp_w, load=spec.load, gpu_count=spec.gpu_count, hours=spec.expected_hours
        ),
        pue_milli=round(DEFAULT_POLICY.reference.pue * 1000),
        intensity_mg_per_kwh=_intensity_range(spec, outlooks),
        hold_micro=spec.budget_micro,
        expires_at=clock.now() + QUOTE_VALID_FOR,
    )
    return replace(quote, basis=f"{quote.basis}; carbon: range over the open zones, grid {_grid_quality(outlooks)}")


async def stop(tx: Tx, clock: Clock, org_id: UUID, workload_id: UUID, why: str) -> WorkloadRow:
    """Ask a workload to `cancel` or `complete`. The same request again is fine. Raises NotFound, and Conflict once it has ended."""
    workload = await own_workload(tx, org_id, workload_id)
    if workload.state in ENDED or workload.state is WorkloadState.SETTLING:
        raise Conflict(f"The workload has ended already: {workload.outcome or workload.state}.")
    if await repository.request_stop(tx, workload_id, org_id, why):
        event = EventRow(
            event_id=clock.new_id(), workload_id=workload_id, at=clock.now(), kind="stop_requested", detail={"why": why}
        )
        await repository.add_event(tx, event, org_id)
    await wake(tx, workloads, workload_id)
    return await own_workload(tx, org_id, workload_id)


async def route_soon(tx: Tx, org_id: UUID, workload_id: UUID) -> WorkloadRow:
    """Make an unplaced workload due now. Raises Conflict when it is placed or has ended."""
    workload = await own_workload(tx, org_id, workload_id)
    if workload.state not in (WorkloadState.SUBMITTED, WorkloadState.WAITING):
        raise Conflict(f"Only a workload without a place can be routed; this one is {workload.state}.")
    await wake(tx, workloads, workload_id)
    return workload


async def own_workload(tx: Tx, org_id: UUID, workload_id: UUID) -> WorkloadRow:
    workload = await repository.find_workload(tx, workload_id, org_id)
    if workload is None:
        raise NotFound("Your organisation has no such workload.")
    return workload


DEFAULT_GPU = "H100"
"""The reference GPU that `expected_hours` speaks of when no model is asked for."""


def _new_workload(clock: Clock, org_id: UUID, spec: WorkloadSpec) -> WorkloadRow:
    return WorkloadRow(
        workload_id=clock.new_id(),
        org_id=org_id,
        spec=spec,
        state=WorkloadState.SUBMITTED,
        state_reason=None,
        outcome=None,
        stop_requested=None,
        submitted_at=clock.now(),
        started_at=None,
        ended_at=None,
        reviewed_at=None,
        moves=0,
        restarts=0,
        placements=0,
        step=None,
        total_steps=None,
        hold_micro=spec.budget_micro,
        spent_micro=0,
        energy_mj=0,
        feasible=None,
    )


def _grid_quality(outlooks: Mapping[str, Outlook]) -> str:
    return " and ".join(sorted({outlook.quality for outlook in outlooks.values()})) or "unknown, the reference stands in"


def _intensity_range(spec: WorkloadSpec, outlooks: Mapping[str, Outlook]) -> Range:
    hours = max(1, round(spec.expected_hours))
    means = sorted(
        sum(series) / len(series)
        for zone, outlook in outlooks.items()
        if (not spec.allowed_zones or zone in spec.allowed_zones) and (series := outlook.intensity_g_per_kwh[:hours])
    )
    if not means:
        return UNKNOWN_INTENSITY_MG_PER_KWH
    return Range(round(means[0] * 1000), round(means[len(means) // 2] * 1000), round(means[-1] * 1000))


async def count_by_state(tx: Tx) -> dict[str, int]:
    """System role. How many workloads are in each state."""
    return await repository.count_by_state(tx)
