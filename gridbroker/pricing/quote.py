"""A quote: what a workload is expected to take, as ranges, and the most that it may cost."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gridbroker.core.units import MILLISECONDS_PER_HOUR, div_half_even, emissions_mg
from gridbroker.metering.estimation import EnergyEstimate
from gridbroker.metering.footprint import facility_energy_mj
from gridbroker.pricing.rate_card import RATE_CARD_VERSION
from gridbroker.pricing.rating import charge_micro

SHORTEST_PERCENT = 80
LONGEST_PERCENT = 125
"""An assumption: the owner's estimate of the run time holds within a factor of 1.25 either way."""


@dataclass(frozen=True, slots=True)
class Range:
    low: int
    expected: int
    high: int


@dataclass(frozen=True, slots=True)
class HoursRange:
    low: float
    expected: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Immutable once saved. The ranges are expectations; only `hold_micro` binds: the workload is stopped before it costs more."""

    quote_id: UUID
    workload_id: UUID
    rate_card_version: str
    gpu_hours: HoursRange
    cost_micro: Range
    energy_mj: Range
    """IT energy at the GPUs."""
    emissions_mg: Range
    """Of the facility's energy (with PUE), location-based, average."""
    hold_micro: int
    expires_at: datetime
    basis: str
    """In words: which assumptions the ranges rest on."""


def make_quote(
    *,
    quote_id: UUID,
    workload_id: UUID,
    gpu_count: int,
    hours: float,
    price_micro_per_gpu_hour: int,
    energy: EnergyEstimate,
    pue_milli: int,
    intensity_mg_per_kwh: Range,
    hold_micro: int,
    expires_at: datetime,
) -> Quote:
    """The quote of a run of `hours` on `gpu_count` GPUs of one site.

    Args:
        energy: of the expected hours; its low and high are scaled by the shortest and longest run.
        intensity_mg_per_kwh: expected mean over the run with its range; the low end meets the low energy, the high the high.

    Energy and emissions are rounded half to even, costs up, as they are billed.
    """
    energy_mj = Range(_percent(energy.low_mj, SHORTEST_PERCENT), energy.expected_mj, _percent(energy.high_mj, LONGEST_PERCENT))
    duration_ms = round(hours * MILLISECONDS_PER_HOUR)
    durations = Range(_percent(duration_ms, SHORTEST_PERCENT), duration_ms, _percent(duration_ms, LONGEST_PERCENT))
    return Quote(
        quote_id=quote_id,
        workload_id=workload_id,
        rate_card_version=RATE_CARD_VERSION,
        gpu_hours=HoursRange(*(gpu_count * ms / MILLISECONDS_PER_HOUR for ms in _ends(durations))),
        cost_micro=Range(*(charge_micro(ms, gpu_count, price_micro_per_gpu_hour) for ms in _ends(durations))),
        energy_mj=energy_mj,
        emissions_mg=Range(
            *(
                emissions_mg(facility_energy_mj(mj, pue_milli), mg)
                for mj, mg in zip(_ends(energy_mj), _ends(intensity_mg_per_kwh), strict=True)
            )
        ),
        hold_micro=hold_micro,
        expires_at=expires_at,
        basis=f"run time {SHORTEST_PERCENT} to {LONGEST_PERCENT} % of the owner's estimate; energy: {energy.basis}",
    )


def _percent(amount: int, percent: int) -> int:
    return div_half_even(amount * percent, 100)


def _ends(of: Range) -> tuple[int, int, int]:
    return of.low, of.expected, of.high
