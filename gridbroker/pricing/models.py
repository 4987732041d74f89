"""Tables of pricing: the quotes that customers were given."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from gridbroker.core.db import metadata

Timestamp = sa.TIMESTAMP(timezone=True)


def _range(name: str, type_: type[TypeEngine[Any]]) -> list[sa.Column[Any]]:
    return [sa.Column(f"{name}_{end}", type_, nullable=False) for end in ("low", "expected", "high")]


quotes = sa.Table(
    "quotes",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id"), nullable=False),
    sa.Column("workload_id", sa.Uuid, nullable=False),
    sa.Column("rate_card_version", sa.Text, nullable=False),
    *_range("gpu_hours", sa.Double),
    *_range("cost_micro", sa.BigInteger),
    *_range("energy_mj", sa.BigInteger),
    *_range("emissions_mg", sa.BigInteger),
    sa.Column("hold_micro", sa.BigInteger, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Column("basis", sa.Text, nullable=False),
    sa.UniqueConstraint("workload_id"),
)
