"""Tables of providers: nodes with every version of their facts, one-time tokens, checks, leases, and the orders of each node."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from gridbroker.core.db import metadata
from gridbroker.core.versioned import Xid8, xid_column

Timestamp = sa.TIMESTAMP(timezone=True)


def _fact_columns() -> list[sa.Column[Any]]:
    """What routing ranks by. A change of any of them is a new version."""
    return [
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("tier", sa.SmallInteger, nullable=False),
        sa.Column("gpu_model", sa.Text, nullable=False),
        sa.Column("gpu_count", sa.SmallInteger, nullable=False),
        sa.Column("price_micro_per_gpu_hour", sa.BigInteger, nullable=False),
        sa.Column("pue_milli", sa.Integer, nullable=False),
        sa.Column("energy_kind", sa.Text, nullable=False),
        sa.Column("backends", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("health", sa.Text, nullable=False),
    ]


nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id"), nullable=False),
    *_fact_columns(),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("orders_version", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_seen_at", Timestamp, nullable=True),
    sa.Column("utilisation", sa.REAL, nullable=False, server_default="0"),
    sa.Column("spool_backlog", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failing_checks", sa.ARRAY(sa.Text), nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("org_id", "name"),
    sa.CheckConstraint("gpu_count between 1 and 16", name="gpu_count"),
    sa.CheckConstraint("price_micro_per_gpu_hour > 0", name="price"),
)

node_versions = sa.Table(
    "node_versions",
    metadata,
    sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    *_fact_columns(),
    xid_column(),
)

node_tokens = sa.Table(
    "node_tokens",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id"), nullable=False),
    sa.Column("token_hash", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Column("used_at", Timestamp, nullable=True),
    sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id"), nullable=True),
    sa.UniqueConstraint("token_hash"),
)

node_checks = sa.Table(
    "node_checks",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id"), nullable=False),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("ok", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index("ix_node_checks_node_id_id", "node_id", "id"),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id"), nullable=False),
    sa.Column("gpu_index", sa.SmallInteger, nullable=False),
    sa.Column("placement_id", sa.Uuid, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("opened_at", Timestamp, nullable=False),
    sa.Column("closed_at", Timestamp, nullable=True),
    xid_column("opened_xid"),
    sa.Column("closed_xid", Xid8, nullable=True),
    # No GPU is ever leased twice: the database says so, not the router.
    sa.Index("ux_leases_open", "node_id", "gpu_index", unique=True, postgresql_where=sa.text("closed_at is null")),
    sa.Index("ix_leases_placement_id", "placement_id"),
    sa.Index("ix_leases_closed_xid", "closed_xid"),
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("placement_id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id"), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("body", JSONB, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.Index("ix_orders_node_id", "node_id"),
)
