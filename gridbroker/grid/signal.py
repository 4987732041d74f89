"""What is known of a zone's power system at a time, never without its provenance."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SignalKind(StrEnum):
    CARBON_INTENSITY = "carbon_intensity"
    """gCO2e/kWh"""
    PRICE = "price"
    """EUR/MWh, wholesale"""
    RENEWABLE_SHARE = "renewable_share"
    """0 to 1 of generation or consumption; grid mix, never a certificate claim"""


class Quality(StrEnum):
    MEASURED = "measured"
    ESTIMATED = "estimated"
    FORECAST = "forecast"
    MODELLED = "modelled"
    """From a typical day, not from this one. Every place that shows it must say so."""


class Averaging(StrEnum):
    AVERAGE = "average"
    MARGINAL = "marginal"
    """Never ranked or summed together with average."""


class Scope(StrEnum):
    LIFECYCLE = "lifecycle"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One value that holds for the hour beginning at `at`."""

    zone: str
    kind: SignalKind
    at: datetime
    value: float
    source: str
    quality: Quality
    averaging: Averaging = Averaging.AVERAGE
    scope: Scope = Scope.LIFECYCLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A zone as planning sees it: what is known for the current hour, and hour by hour what is expected after it."""

    zone: str
    from_hour: datetime
    """Start of the current hour; index 0 of the series below."""
    intensity_g_per_kwh: tuple[float, ...]
    price_eur_per_mwh: tuple[float, ...]
    renewable_share: float | None
    observed_at: datetime
    """When the newest observation holds; older than `from_hour` means that index 0 is an estimate."""
    source: str
    quality: Quality
    """Of the observation. Everything after index 0 is a forecast by `method`."""
    method: str
    error_ratio: float
    """Typical relative error of the forecast, 0 for a perfect one: half the width of the ranges that plans show."""
