"""What a run on a node is expected to take: time, energy, emissions, money, each as a range around its expected value."""

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from gridbroker.broker.horizon import Window
from gridbroker.broker.policy import Policy
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.core.units import MILLIJOULES_PER_KWH, MILLISECONDS_PER_HOUR, div_ceil, energy_kwh
from gridbroker.grid.signal import Outlook, Quality
from gridbroker.metering.estimation import estimate_energy
from gridbroker.providers.gpu import GpuModel
from gridbroker.providers.node import NodeFacts

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Range(Generic[Number]):
    low: Number
    expected: Number
    high: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class GridBasis:
    """Where the intensities behind an expectation come from."""

    source: str
    quality: Quality
    method: str
    error_ratio: float
    observed_at: datetime
    from_hour: datetime
    beyond_forecast: bool
    """The run outlasts the forecast; the mean of its last day stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    hours: Range[float]
    energy_mj: Range[int]
    """IT energy at the GPUs."""
    emissions_mg: Range[int]
    """Of the facility: IT energy times PUE times the mean intensity, location-based, average."""
    cost_micro: Range[int]
    """What the customer pays, EUR; the high end stops at the budget, where the run would be stopped too."""
    electricity_micro: int | None
    """Wholesale value of the facility's energy; part of the provider's cost, not of the bill. None without a price."""
    mean_intensity_g_per_kwh: float
    worst_intensity_g_per_kwh: float
    grid: GridBasis


def expect(
    spec: WorkloadSpec, node: NodeFacts, model: GpuModel, *, outlook: Outlook, window: Window, policy: Policy, budget_micro: int
) -> Expectation:
    """The run of `window.hours` on `node`. Energy ranges multiply the range of the power with that of the run time, emissions
    also with the forecast's error; money is rounded up, emissions to the nearest milligram."""
    hours = Range(window.hours * policy.hours_low_ratio, window.hours, window.hours * policy.hours_high_ratio)
    energy = _energy(spec, model, hours)
    mean = window.intensity_g_per_kwh
    error = outlook.error_ratio
    cost = cost_micro(node.price_micro_per_gpu_hour, spec.gpu_count, hours.expected)
    return Expectation(
        hours=hours,
        energy_mj=energy,
        emissions_mg=Range(
            facility_emissions_mg(energy.low, node.pue, mean * max(0.0, 1 - error)),
            facility_emissions_mg(energy.expected, node.pue, mean),
            facility_emissions_mg(energy.high, node.pue, mean * (1 + error)),
        ),
        cost_micro=Range(
            cost_micro(node.price_micro_per_gpu_hour, spec.gpu_count, hours.low),
            cost,
            max(cost, min(budget_micro, cost_micro(node.price_micro_per_gpu_hour, spec.gpu_count, hours.high))),
        ),
        electricity_micro=electricity_micro(energy.expected, node.pue, window.price_eur_per_mwh),
        mean_intensity_g_per_kwh=mean,
        worst_intensity_g_per_kwh=window.worst_intensity_g_per_kwh,
        grid=_basis(outlook, window),
    )


def cost_micro(price_micro_per_gpu_hour: int, gpu_count: int, hours: float) -> int:
    """Price of a lease over `hours` (to the millisecond), rounded up."""
    return div_ceil(price_micro_per_gpu_hour * gpu_count * round(hours * MILLISECONDS_PER_HOUR), MILLISECONDS_PER_HOUR)


def facility_emissions_mg(energy_mj: int, pue: float, intensity_g_per_kwh: float) -> int:
    return round(energy_mj * pue * intensity_g_per_kwh * 1000 / MILLIJOULES_PER_KWH)


def electricity_micro(energy_mj: int, pue: float, price_eur_per_mwh: float | None) -> int | None:
    """Wholesale value in EUR micro-units; negative when the price is."""
    return None if price_eur_per_mwh is None else round(energy_kwh(energy_mj) * pue * price_eur_per_mwh * 1000)


def _energy(spec: WorkloadSpec, model: GpuModel, hours: Range[float]) -> Range[int]:
    low, expected, high = (
        estimate_energy(idle_w=model.idle_w, tdp_w=model.tdp_w, load=spec.load, gpu_count=spec.gpu_count, hours=duration)
        for duration in (hours.low, hours.expected, hours.high)
    )
    return Range(low.low_mj, expected.expected_mj, high.high_mj)


def _basis(outlook: Outlook, window: Window) -> GridBasis:
    return GridBasis(
        source=outlook.source,
        quality=outlook.quality,
        method=outlook.method,
        error_ratio=outlook.error_ratio,
        observed_at=outlook.observed_at,
        from_hour=outlook.from_hour,
        beyond_forecast=window.beyond_forecast,
    )
