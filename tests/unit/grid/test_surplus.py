from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gridbroker.grid.signal import Outlook, Quality
from gridbroker.grid.surplus import SurplusFlag, evidence

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)


def outlook(intensity: float = 300.0, price: float | None = 80.0, **changes: Any) -> Outlook:
    facts: dict[str, Any] = {
        "zone": "ES",
        "from_hour": NOON,
        "intensity_g_per_kwh": (intensity, 0.0),
        "price_eur_per_mwh": () if price is None else (price, -5.0),
        "renewable_share": 1.0,
        "observed_at": NOON,
        "source": "s",
        "quality": Quality.MEASURED,
        "method": "seasonal-naive",
        "error_ratio": 0.1,
    }
    return Outlook(**(facts | changes))


@pytest.mark.parametrize(
    ("intensity", "price", "flags"),
    [
        (300.0, 80.0, ()),
        (100.0, 80.0, (SurplusFlag.LOW_CARBON,)),
        (100.1, 10.0, (SurplusFlag.LOW_PRICE,)),
        (300.0, 0.0, (SurplusFlag.LOW_PRICE,)),
        (300.0, -0.01, (SurplusFlag.LOW_PRICE, SurplusFlag.NEGATIVE_PRICE)),
        (20.0, None, (SurplusFlag.LOW_CARBON,)),
    ],
)
def test_each_flag_has_its_own_evidence(intensity, price, flags):
    assert evidence(outlook(intensity, price)).flags == flags


def test_curtailment_is_never_inferred():
    clean_and_negative = outlook(5.0, -100.0)
    assert SurplusFlag.CURTAILMENT not in evidence(clean_and_negative).flags
    assert SurplusFlag.CURTAILMENT not in evidence(clean_and_negative, curtailed_mwh=0.0).flags
    assert SurplusFlag.CURTAILMENT in evidence(clean_and_negative, curtailed_mwh=0.1).flags


def test_an_estimated_hour_is_no_evidence():
    assert evidence(outlook(5.0, -100.0, observed_at=NOON - timedelta(hours=1))).flags == ()


def test_evidence_carries_its_provenance():
    found = evidence(outlook(5.0, quality=Quality.MODELLED))
    assert (found.zone, found.at, found.source, found.quality) == ("ES", NOON, "s", Quality.MODELLED)
