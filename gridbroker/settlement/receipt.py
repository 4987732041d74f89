"""A carbon receipt: a W3C Verifiable Credential (VC 2.0) that states a workload's energy, emissions and cost, and signs them.

Quantities are decimal or integer strings, because JSON numbers lose digits. Emissions are location-based; what a baseline would
have emitted stands beside them and is never subtracted. The workload appears under a pseudonym: whoever holds the salt (its owner)
can show that a receipt belongs to a workload, nobody else can guess it.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from gridbroker.core.money import Currency, format_micro
from gridbroker.metering.statement import Counterfactual, Statement, StatementSegment
from gridbroker.settlement import disclosure
from gridbroker.settlement.data_integrity import Signer, add_proof, did_key
from gridbroker.settlement.division import Division

CONTEXT = ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/undefined-terms/v2"]
TYPES = ["VerifiableCredential", "CarbonReceipt"]
FORMAT = "gridbroker-receipt/1"
SALT_BYTES = 16
PUE_SCOPE = "GPU energy times the site's power usage effectiveness; host processors, memory and network are not included"


def issue(
    statement: Statement,
    division: Division,
    *,
    receipt_id: UUID,
    charge_id: UUID | None,
    payout_ids: tuple[UUID, ...],
    salt: bytes,
    signer: Signer,
    issuer_url: str,
    issued_at: datetime,
    software: str,
) -> dict[str, Any]:
    """The signed receipt of a settled statement. `payout_ids` are in the order of the division's shares."""
    document = {
        "@context": CONTEXT,
        "id": f"urn:uuid:{receipt_id}",
        "type": TYPES,
        "issuer": {"id": did_key(signer.public_key), "name": "Gridbroker", "url": issuer_url},
        "validFrom": rfc3339(issued_at),
        "credentialSubject": {
            "format": FORMAT,
            "software": software,
            "workload": pseudonym(statement.workload_id, salt),
            "outcome": statement.outcome,
            "interval": {"from": rfc3339(statement.from_at), "to": rfc3339(statement.to_at)},
            "statement": {"id": str(statement.statement_id), "method": statement.method},
            "clockFactor": str(statement.clock_factor),
            "moves": str(statement.moves),
            "energy": _energy(statement),
            "emissions": _emissions(statement),
            "segments": _segments(statement),
            "counterfactuals": [_counterfactual(one) for one in statement.counterfactuals],
            "cost": _cost(statement, division, charge_id, payout_ids),
            "disclosures": _disclosures(statement),
        },
    }
    return add_proof(document, signer, rfc3339(issued_at))


def pseudonym(workload_id: UUID, salt: bytes) -> str:
    """What a receipt calls a workload: SHA-256 over a random 128-bit salt and the id."""
    if len(salt) != SALT_BYTES:
        raise ValueError("the salt has 128 bits")
    return "sha256:" + hashlib.sha256(salt + workload_id.bytes).hexdigest()


def rfc3339(at: datetime) -> str:
    """UTC with microseconds, as in 2026-03-20T12:00:00.000000Z."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _energy(statement: Statement) -> dict[str, str]:
    return {
        "itMj": str(statement.energy_mj),
        "facilityMj": str(statement.facility_energy_mj),
        "kind": statement.energy_kind,
        "pueScope": PUE_SCOPE,
        "unit": "millijoule",
    }


def _emissions(statement: Statement) -> dict[str, str]:
    return {
        "locationBasedMg": str(statement.emissions_mg),
        "unit": "milligram CO2e",
        "gridQuality": statement.grid_quality,
        "averaging": "average",
        "scope": "lifecycle",
        "rule": "per segment: facilityMj x intensityMgPerKwh / 3600000000, rounded half to even",
    }


def _segments(statement: Statement) -> list[dict[str, str]]:
    """Placements are numbered in order of first use: a receipt names zones, not machines."""
    placements = dict.fromkeys(segment.placement_id for segment in statement.segments)
    numbers = {placement: number for number, placement in enumerate(placements, 1)}
    return [_segment(segment, numbers[segment.placement_id]) for segment in statement.segments]


def _segment(segment: StatementSegment, placement: int) -> dict[str, str]:
    return {
        "placement": str(placement),
        "zone": segment.zone,
        "from": rfc3339(segment.from_at),
        "to": rfc3339(segment.to_at),
        "itMj": str(segment.energy_mj),
        "facilityMj": str(segment.facility_energy_mj),
        "energyKind": segment.energy_kind,
        "intensityMgPerKwh": str(segment.intensity_mg_per_kwh),
        "intensitySource": segment.intensity_source,
        "intensityQuality": segment.intensity_quality,
        "averaging": "average",
        "scope": "lifecycle",
        "emissionsMg": str(segment.emissions_mg),
    }


def _counterfactual(counterfactual: Counterfactual) -> dict[str, Any]:
    return {
        "baseline": str(counterfactual.baseline),
        "zones": list(counterfactual.zones),
        "emissionsMg": str(counterfactual.emissions_mg),
        "avoidedMg": str(counterfactual.avoided_mg),
        "complete": counterfactual.complete,
    }


def _cost(statement: Statement, division: Division, charge_id: UUID | None, payout_ids: tuple[UUID, ...]) -> dict[str, Any]:
    return {
        "currency": str(Currency.EUR),
        "cost": format_micro(statement.cost_micro),
        "charged": format_micro(division.charged_micro),
        "fee": format_micro(division.fee_micro),
        "chargeId": None if charge_id is None else str(charge_id),
        "payouts": [
            {"id": str(payout_id), "amount": format_micro(share.amount_micro)}
            for payout_id, share in zip(payout_ids, division.shares, strict=True)
        ],
    }


def _disclosures(statement: Statement) -> list[dict[str, str]]:
    codes = disclosure.required(
        clock_factor=statement.clock_factor,
        grid_quality=statement.grid_quality,
        energy_kind=statement.energy_kind,
        baselines_complete=all(one.complete for one in statement.counterfactuals),
    )
    return [{"code": code, "text": disclosure.text(code, statement.clock_factor)} for code in codes]
