"""Figures as people read them: times in UTC, money with its currency, energy in kWh with its kind, emissions in grams."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gridbroker.core.units import MICRO, MILLIJOULES_PER_KWH


def at(text: str | None) -> str | None:
    """An RFC 3339 time to the second, in UTC."""
    if text is None:
        return None
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def eur(amount_micro: int) -> str:
    """To the cent, and below ten euros to a hundredth of one; for plans, never for ledgers."""
    amount = amount_micro / MICRO
    return f"{amount:.2f} EUR" if abs(amount) >= 10 else f"{amount:.4f} EUR"


def kwh(energy_mj: int | str) -> str:
    return f"{int(energy_mj) / MILLIJOULES_PER_KWH:.4g} kWh"


def grams(emissions_mg: int | str) -> str:
    return f"{int(emissions_mg) / 1000:.4g} gCO2e"


def eur_range(ends: Mapping[str, Any]) -> str:
    return f"{eur(ends['expected'])} ({eur(ends['low'])} to {eur(ends['high'])})"


def kwh_range(ends: Mapping[str, Any]) -> str:
    return f"{kwh(ends['expected'])} ({kwh(ends['low'])} to {kwh(ends['high'])})"


def grams_range(ends: Mapping[str, Any]) -> str:
    return f"{grams(ends['expected'])} ({grams(ends['low'])} to {grams(ends['high'])})"


def percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1]))
