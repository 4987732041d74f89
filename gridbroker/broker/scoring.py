"""How good a place is: three terms against fixed references; lower is better, about 1 on the reference GPU, grid and price.

S = 0.6 K/K_ref + 0.3 M/M_ref + 0.1 U, with K the emissions of the run, M its price, U the busy share of the node without it.
K_ref and M_ref are those of the same run on the reference GPU (`policy.Reference`). No term knows of any other candidate, so
adding, removing or repricing one never reorders the others.
"""

from dataclasses import dataclass

from gridbroker.broker.policy import Policy
from gridbroker.broker.power import reference_power_w
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.core.units import MICRO

DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Terms rounded to six decimals and their sum, so that what is shown adds up as shown."""

    carbon: float
    price: float
    utilisation: float
    handicap: float
    """Of the node's tier; 0 under the strict order of tiers."""
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a score looks at."""

    power_w: float
    """Of all GPUs of the workload."""
    pue: float
    price_micro_per_gpu_hour: int
    slowdown: float
    """Hours there per hour on the GPU that the estimate was made for."""


def score(
    spec: WorkloadSpec, place: Place, *, intensity_g_per_kwh: float, busy_share: float, handicap: float, policy: Policy
) -> Score:
    """Score of the whole run at the mean `intensity_g_per_kwh`. A run of any length has the score of its mean hour."""
    carbon = round(carbon_rate(spec, place, intensity_g_per_kwh, policy) * place.slowdown, DECIMALS)
    price = round(price_rate(place, policy) * place.slowdown, DECIMALS)
    utilisation = round(policy.weights.utilisation * busy_share, DECIMALS)
    return Score(
        carbon=carbon,
        price=price,
        utilisation=utilisation,
        handicap=handicap,
        total=round(carbon + price + utilisation + handicap, DECIMALS),
    )


def rate(spec: WorkloadSpec, place: Place, intensity_g_per_kwh: float, policy: Policy) -> float:
    """Score per hour there, carbon and price only: what moves compare. (A workload's own load is no reason to leave.)"""
    return carbon_rate(spec, place, intensity_g_per_kwh, policy) + price_rate(place, policy)


def carbon_rate(spec: WorkloadSpec, place: Place, intensity_g_per_kwh: float, policy: Policy) -> float:
    emissions_g_per_h = place.power_w / 1000 * place.pue * intensity_g_per_kwh
    return policy.weights.carbon * emissions_g_per_h / reference_emissions_g_per_h(spec, policy)


def price_rate(place: Place, policy: Policy) -> float:
    return policy.weights.price * place.price_micro_per_gpu_hour / policy.reference.price_micro_per_gpu_hour


def reference_emissions_g_per_h(spec: WorkloadSpec, policy: Policy) -> float:
    """K_ref per hour."""
    return reference_power_w(spec, policy) / 1000 * policy.reference.pue * policy.reference.intensity_g_per_kwh


def reference_price_micro_per_h(spec: WorkloadSpec, policy: Policy) -> int:
    """M_ref per hour."""
    return spec.gpu_count * policy.reference.price_micro_per_gpu_hour


def implied_carbon_price_eur_per_t(spec: WorkloadSpec, policy: Policy) -> float:
    """The price of carbon at which the weights trade emissions against money."""
    exchange = policy.weights.carbon / policy.weights.price
    eur_per_g = exchange * reference_price_micro_per_h(spec, policy) / MICRO / reference_emissions_g_per_h(spec, policy)
    return eur_per_g * 1_000_000
