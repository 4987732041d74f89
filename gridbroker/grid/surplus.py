"""Evidence of spare clean power in a zone, kept apart by kind and never inferred from anything else.

Cheap power is not clean by that, clean power not spare, and only measured curtailment is curtailment: each is a flag of its own.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gridbroker.grid.signal import Outlook, Quality

LOW_CARBON_G_PER_KWH = 100.0
"""At or below: the life-cycle threshold of the EU taxonomy for generating electricity."""
LOW_PRICE_EUR_PER_MWH = 10.0
"""At or below: about what wind and solar plants still earn their running costs at. Our own choice."""


class SurplusFlag(StrEnum):
    LOW_CARBON = "low_carbon"
    LOW_PRICE = "low_price"
    NEGATIVE_PRICE = "negative_price"
    CURTAILMENT = "curtailment"
    """Clean generation was measured as turned down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurplusEvidence:
    """What speaks for a surplus in the hour that began `at`, and how good the observation behind it is."""

    zone: str
    at: datetime
    flags: tuple[SurplusFlag, ...]
    source: str
    quality: Quality


def evidence(outlook: Outlook, *, curtailed_mwh: float | None = None) -> SurplusEvidence:
    """Flags for the outlook's current hour. One that was not observed gets none from its estimate, whatever that says.

    `curtailed_mwh` is a measurement of that hour and zone; without one, curtailment is not claimed.
    """
    observed = outlook.observed_at >= outlook.from_hour
    price = outlook.price_eur_per_mwh[0] if observed and outlook.price_eur_per_mwh else None
    found = {
        SurplusFlag.LOW_CARBON: observed and outlook.intensity_g_per_kwh[0] <= LOW_CARBON_G_PER_KWH,
        SurplusFlag.LOW_PRICE: price is not None and price <= LOW_PRICE_EUR_PER_MWH,
        SurplusFlag.NEGATIVE_PRICE: price is not None and price < 0,
        SurplusFlag.CURTAILMENT: curtailed_mwh is not None and curtailed_mwh > 0,
    }
    return SurplusEvidence(
        zone=outlook.zone,
        at=outlook.from_hour,
        flags=tuple(flag for flag, holds in found.items() if holds),
        source=outlook.source,
        quality=outlook.quality,
    )
