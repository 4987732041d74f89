"""Providers: nodes and the versions of their facts, one-time tokens, checks, leases, orders."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from gridbroker.core.versioned import Xid8
from gridbroker.migrations.security import APPEND_ONLY, READ_ONLY, protect

revision = "0004"
down_revision = "0003"

Timestamp = sa.TIMESTAMP(timezone=True)
XID = sa.text("pg_current_xact_id()")
NOTHING = ""


def upgrade() -> None:
    _nodes()
    _node_tokens()
    _node_checks()
    _leases()
    _orders()


def downgrade() -> None:
    for table in ("orders", "leases", "node_checks", "node_tokens", "node_versions", "nodes"):
        op.drop_table(table)


def _fact_columns() -> list[sa.Column[Any]]:
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


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id", name="fk_nodes_org_id"), nullable=False),
        *_fact_columns(),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("orders_version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_seen_at", Timestamp, nullable=True),
        sa.Column("utilisation", sa.REAL, nullable=False, server_default="0"),
        sa.Column("spool_backlog", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failing_checks", sa.ARRAY(sa.Text), nullable=True),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
        sa.UniqueConstraint("org_id", "name", name="uq_nodes_org_id_name"),
        sa.CheckConstraint("gpu_count between 1 and 16", name="gpu_count"),
        sa.CheckConstraint("price_micro_per_gpu_hour > 0", name="price"),
    )
    protect("nodes", app="select, update")
    op.create_table(
        "node_versions",
        sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id", name="fk_node_versions_node_id"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        *_fact_columns(),
        sa.Column("xid", Xid8, nullable=False, server_default=XID),
        sa.PrimaryKeyConstraint("node_id", "version", name="pk_node_versions"),
    )
    protect("node_versions", app=APPEND_ONLY, system=APPEND_ONLY)


def _node_tokens() -> None:
    op.create_table(
        "node_tokens",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id", name="fk_node_tokens_org_id"), nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", Timestamp, nullable=False),
        sa.Column("used_at", Timestamp, nullable=True),
        sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id", name="fk_node_tokens_node_id"), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_node_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_node_tokens_token_hash"),
    )
    protect("node_tokens", app=APPEND_ONLY)


def _node_checks() -> None:
    op.create_table(
        "node_checks",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id", name="fk_node_checks_node_id"), nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("at", Timestamp, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("ok", sa.Boolean, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_node_checks"),
    )
    op.create_index("ix_node_checks_node_id_id", "node_checks", ["node_id", "id"])
    protect("node_checks", app=READ_ONLY)


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id", name="fk_leases_node_id"), nullable=False),
        sa.Column("gpu_index", sa.SmallInteger, nullable=False),
        sa.Column("placement_id", sa.Uuid, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("opened_at", Timestamp, nullable=False),
        sa.Column("closed_at", Timestamp, nullable=True),
        sa.Column("opened_xid", Xid8, nullable=False, server_default=XID),
        sa.Column("closed_xid", Xid8, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
    )
    op.create_index(
        "ux_leases_open", "leases", ["node_id", "gpu_index"], unique=True, postgresql_where=sa.text("closed_at is null")
    )
    op.create_index("ix_leases_placement_id", "leases", ["placement_id"])
    op.create_index("ix_leases_closed_xid", "leases", ["closed_xid"])
    protect("leases", app=READ_ONLY)


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("placement_id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id", name="fk_orders_node_id"), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("body", JSONB, nullable=False),
        sa.Column("updated_at", Timestamp, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.PrimaryKeyConstraint("placement_id", name="pk_orders"),
    )
    op.create_index("ix_orders_node_id", "orders", ["node_id"])
    # An order carries the customer's command and environment: the provider's people see none of it.
    protect("orders", app=NOTHING)
