"""Queries of pricing."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from gridbroker.core.db import Tx
from gridbroker.pricing.models import quotes
from gridbroker.pricing.quote import HoursRange, Quote, Range

_ADD_QUOTE = insert(quotes).on_conflict_do_nothing(index_elements=["workload_id"])
"""Built once: it runs with every submit."""


async def add_quote(tx: Tx, quote: Quote, org_id: UUID) -> bool:
    """False when the workload has a quote already."""
    row = {
        "id": quote.quote_id,
        "org_id": org_id,
        "workload_id": quote.workload_id,
        "rate_card_version": quote.rate_card_version,
        **_columns("gpu_hours", quote.gpu_hours),
        **_columns("cost_micro", quote.cost_micro),
        **_columns("energy_mj", quote.energy_mj),
        **_columns("emissions_mg", quote.emissions_mg),
        "hold_micro": quote.hold_micro,
        "expires_at": quote.expires_at,
        "basis": quote.basis,
    }
    result = await tx.execute(_ADD_QUOTE, row)
    return result.rowcount == 1


async def find_quote(tx: Tx, workload_id: UUID) -> Quote | None:
    row = (await tx.execute(sa.select(quotes).where(quotes.c.workload_id == workload_id))).first()
    return _quote(row) if row else None


def _columns(name: str, of: Range | HoursRange) -> dict[str, float]:
    return {f"{name}_low": of.low, f"{name}_expected": of.expected, f"{name}_high": of.high}


def _quote(row: sa.Row[Any]) -> Quote:
    return Quote(
        quote_id=row.id,
        workload_id=row.workload_id,
        rate_card_version=row.rate_card_version,
        gpu_hours=HoursRange(row.gpu_hours_low, row.gpu_hours_expected, row.gpu_hours_high),
        cost_micro=Range(row.cost_micro_low, row.cost_micro_expected, row.cost_micro_high),
        energy_mj=Range(row.energy_mj_low, row.energy_mj_expected, row.energy_mj_high),
        emissions_mg=Range(row.emissions_mg_low, row.emissions_mg_expected, row.emissions_mg_high),
        hold_micro=row.hold_micro,
        expires_at=row.expires_at,
        basis=row.basis,
    )
