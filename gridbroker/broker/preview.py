"""What a plan shows before anything is written: where and when, what it takes with its ranges, what it missed, what to doubt."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gridbroker.broker.expectation import Expectation
from gridbroker.broker.policy import Policy
from gridbroker.broker.routing import BindingConstraint, Candidate, Route
from gridbroker.broker.scoring import implied_carbon_price_eur_per_t
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.grid.signal import Quality

MEASURED = "measured"


class WarningCode(StrEnum):
    GRID_MODELLED = "grid_modelled"
    GRID_OUTDATED = "grid_outdated"
    FORECAST = "forecast"
    BEYOND_FORECAST = "beyond_forecast"
    ENERGY_NOT_MEASURED = "energy_not_measured"
    BUDGET_TIGHT = "budget_tight"
    NEVER_MOVED = "never_moved"
    NO_PLACE = "no_place"


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001 - it is what a plan calls it; the built-in is not used here
    code: WarningCode
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    feasible: bool
    best: Candidate | None
    second: Candidate | None
    start_at: datetime | None
    end_at: datetime | None
    """Expected."""
    binding: BindingConstraint | None
    rejected_counts: dict[str, int]
    nodes_seen: int
    implied_carbon_price_eur_per_t: float
    """What the weights of the score take a tonne of CO2e to be worth, for this workload at the reference prices."""
    warnings: tuple[Warning, ...]
    planned_at: datetime
    policy_version: str


def preview(spec: WorkloadSpec, route: Route, policy: Policy) -> Preview:
    """The plan that `route` amounts to."""
    best = route.chosen
    return Preview(
        feasible=best is not None,
        best=best,
        second=route.candidates[1] if len(route.candidates) > 1 else None,
        start_at=route.planned_at if best else None,
        end_at=route.planned_at + timedelta(hours=best.run.hours.expected) if best else None,
        binding=route.binding,
        rejected_counts=route.rejected_counts,
        nodes_seen=route.nodes_seen,
        implied_carbon_price_eur_per_t=round(implied_carbon_price_eur_per_t(spec, policy)),
        warnings=tuple(_warnings(spec, route)),
        planned_at=route.planned_at,
        policy_version=route.policy_version,
    )


def _warnings(spec: WorkloadSpec, route: Route) -> Iterator[Warning]:
    best = route.chosen
    if best is None:
        yield Warning(WarningCode.NO_PLACE, f"None of {route.nodes_seen} nodes may take this workload now.")
        return
    yield from _of_grid(best.zone, best.run)
    if best.energy_kind != MEASURED:
        yield Warning(
            WarningCode.ENERGY_NOT_MEASURED, f"{best.node_name} has no hardware energy counter: its energy is {best.energy_kind}."
        )
    if best.run.cost_micro.high >= spec.budget_micro:
        yield Warning(WarningCode.BUDGET_TIGHT, "If the run takes longer than estimated, the budget stops it before its end.")
    if not spec.checkpoint:
        yield Warning(WarningCode.NEVER_MOVED, "Without checkpoints the workload stays where it starts, whatever the grid does.")


def _of_grid(zone: str, run: Expectation) -> Iterator[Warning]:
    grid = run.grid
    if grid.quality is Quality.MODELLED:
        yield Warning(WarningCode.GRID_MODELLED, f"The grid of {zone} is modelled ({grid.source}), not observed.")
    elif grid.observed_at < grid.from_hour:
        yield Warning(
            WarningCode.GRID_OUTDATED, f"The newest observation of {zone} holds for {grid.observed_at:%Y-%m-%d %H:%M} UTC."
        )
    if grid.error_ratio > 0:
        yield Warning(
            WarningCode.FORECAST, f"Intensities are forecast ({grid.method}), typically off by {grid.error_ratio:.0%} either way."
        )
    if grid.beyond_forecast:
        yield Warning(WarningCode.BEYOND_FORECAST, "The run outlasts the forecast; the mean of its last day stands in.")
