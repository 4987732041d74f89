"""What the API shows of workloads, placements, decisions, events and logs. Amounts and energies are strings, to be exact."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from gridbroker.broker.rows import DecisionRow, EventRow, LogRow, PlacementRow, WorkloadRow
from gridbroker.core.money import Currency, format_micro
from gridbroker.pricing.quote import Quote, Range

SIMULATED = "simulated time: energy, cost and dwell are scaled by clock_factor"


class AmountRange(msgspec.Struct):
    low: str
    expected: str
    high: str


class QuoteView(msgspec.Struct):
    id: UUID
    rate_card_version: str
    cost_eur: AmountRange
    energy_mj: AmountRange
    emissions_mg: AmountRange
    hold_eur: str
    expires_at: datetime
    basis: str


class Progress(msgspec.Struct):
    step: int
    total_steps: int | None
    share: float | None


class PlacementView(msgspec.Struct):
    id: UUID
    number: int
    node_id: UUID
    node_name: str
    zone: str
    gpu_model: str
    gpu_indices: list[int]
    price_eur_per_gpu_hour: str
    state: str
    end_reason: str | None
    decision_id: UUID
    resumed_from: UUID | None
    leased_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    reason: str | None


class WorkloadView(msgspec.Struct, kw_only=True):
    id: UUID
    name: str
    state: str
    state_reason: str | None
    progress: Progress | None
    placements: list[PlacementView]
    """Oldest first; empty in lists."""
    cost_eur: str
    """To date; final once ended."""
    hold_eur: str
    currency: Currency
    energy_kind: str | None
    """Weakest kind behind energy_mj: measured, estimated or modelled; null before anything ran, and in lists."""
    energy_mj: str
    """To date; as of the last review while it runs."""
    moves: int
    restarts: int
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    spec: dict[str, Any]
    quote: QuoteView | None
    clock_factor: int
    """Above 1: simulated time; energy, cost and dwell are scaled by this factor."""


class DecisionView(msgspec.Struct):
    id: UUID
    kind: str
    outcome: str
    chosen_node_id: UUID | None
    decided_at: datetime
    policy_version: str
    snapshot: str
    inputs: dict[str, Any]
    body: dict[str, Any]


class EventView(msgspec.Struct):
    id: UUID
    at: datetime
    kind: str
    detail: dict[str, Any]


class LogView(msgspec.Struct):
    placement: int
    seq: int
    at: datetime
    stream: str
    text: str


class LogPage(msgspec.Struct):
    data: list[LogView]
    next: str
    """Pass as `after` to read on; stays valid for ever."""
    ended: bool
    """No more lines will come."""


def workload_view(
    workload: WorkloadRow,
    clock_factor: int,
    *,
    placements: list[PlacementRow] | None = None,
    quote: Quote | None = None,
    spent: int | None = None,
) -> WorkloadView:
    return WorkloadView(
        id=workload.workload_id,
        name=workload.spec.name,
        state=workload.state,
        state_reason=workload.state_reason,
        progress=_progress(workload),
        placements=[placement_view(placement) for placement in placements or []],
        cost_eur=format_micro(workload.spent_micro if spent is None else spent),
        hold_eur=format_micro(workload.hold_micro),
        currency=Currency.EUR,
        energy_kind=None,
        energy_mj=str(workload.energy_mj),
        moves=workload.moves,
        restarts=workload.restarts,
        submitted_at=workload.submitted_at,
        started_at=workload.started_at,
        ended_at=workload.ended_at,
        spec=msgspec.to_builtins(workload.spec),
        quote=quote_view(quote) if quote else None,
        clock_factor=clock_factor,
    )


def placement_view(placement: PlacementRow) -> PlacementView:
    return PlacementView(
        id=placement.placement_id,
        number=placement.number,
        node_id=placement.node_id,
        node_name=placement.node_name,
        zone=placement.zone,
        gpu_model=placement.gpu_model,
        gpu_indices=list(placement.gpu_indices),
        price_eur_per_gpu_hour=format_micro(placement.price_micro_per_gpu_hour),
        state=placement.state,
        end_reason=placement.end_reason,
        decision_id=placement.decision_id,
        resumed_from=placement.resume_checkpoint_id,
        leased_at=placement.leased_at,
        started_at=placement.started_at,
        ended_at=placement.ended_at,
        exit_code=placement.exit_code,
        reason=placement.reason,
    )


def quote_view(quote: Quote) -> QuoteView:
    return QuoteView(
        id=quote.quote_id,
        rate_card_version=quote.rate_card_version,
        cost_eur=AmountRange(*(format_micro(end) for end in _ends(quote.cost_micro))),
        energy_mj=AmountRange(*(str(end) for end in _ends(quote.energy_mj))),
        emissions_mg=AmountRange(*(str(end) for end in _ends(quote.emissions_mg))),
        hold_eur=format_micro(quote.hold_micro),
        expires_at=quote.expires_at,
        basis=quote.basis,
    )


def decision_view(decision: DecisionRow) -> DecisionView:
    return DecisionView(
        id=decision.decision_id,
        kind=decision.kind,
        outcome=decision.outcome,
        chosen_node_id=decision.chosen_node_id,
        decided_at=decision.decided_at,
        policy_version=decision.policy_version,
        snapshot=decision.snapshot,
        inputs=decision.inputs,
        body=decision.body,
    )


def event_view(event: EventRow) -> EventView:
    return EventView(event.event_id, event.at, event.kind, event.detail)


def log_view(line: LogRow) -> LogView:
    return LogView(line.number, line.seq, line.at, line.stream, line.text)


def _progress(workload: WorkloadRow) -> Progress | None:
    if workload.step is None:
        return None
    total = workload.total_steps
    return Progress(workload.step, total, round(min(1.0, workload.step / total), 4) if total else None)


def _ends(of: Range) -> tuple[int, int, int]:
    return of.low, of.expected, of.high
