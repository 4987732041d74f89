"""Metering: raw samples, energy of subjects by hour, final statements."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from gridbroker.migrations.security import APPEND_ONLY, READ_ONLY, protect

revision = "0005"
down_revision = "0004"

Timestamp = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "samples",
        sa.Column("node_id", sa.Uuid, nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("gpu_index", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("at", Timestamp, nullable=False),
        sa.Column("energy_mj", sa.BigInteger, nullable=False),
        sa.Column("power_w", sa.Double, nullable=False),
        sa.Column("utilisation", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("node_id", "boot_id", "gpu_index", "seq", name="pk_samples"),
    )
    op.create_index("ix_samples_node_id_gpu_index_at", "samples", ["node_id", "gpu_index", "at"])
    protect("samples", app=APPEND_ONLY)
    op.create_table(
        "meter_events",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("subject_id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("provider_org_id", sa.Uuid, nullable=False),
        sa.Column("node_id", sa.Uuid, nullable=False),
        sa.Column("gpu_index", sa.Integer, nullable=False),
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("from_at", Timestamp, nullable=False),
        sa.Column("to_at", Timestamp, nullable=False),
        sa.Column("energy_mj", sa.BigInteger, nullable=False),
        sa.Column("energy_kind", sa.Text, nullable=False),
        sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("id", name="pk_meter_events"),
        sa.UniqueConstraint("subject_id", "gpu_index", "from_at", name="uq_meter_events_subject_id_gpu_index_from_at"),
    )
    op.create_index("ix_meter_events_node_id_gpu_index_from_at", "meter_events", ["node_id", "gpu_index", "from_at"])
    protect("meter_events", "org_id", "provider_org_id", app=READ_ONLY)
    op.create_table(
        "statements",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id", name="fk_statements_org_id"), nullable=False),
        sa.Column("workload_id", sa.Uuid, nullable=False),
        sa.Column("body", JSONB, nullable=False),
        sa.Column("energy_mj", sa.BigInteger, nullable=False),
        sa.Column("emissions_mg", sa.BigInteger, nullable=False),
        sa.Column("cost_micro", sa.BigInteger, nullable=False),
        sa.Column("closed_at", Timestamp, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_statements"),
        sa.UniqueConstraint("workload_id", name="uq_statements_workload_id"),
    )
    op.create_index("ix_statements_org_id_workload_id", "statements", ["org_id", "workload_id"])
    protect("statements", app=READ_ONLY, system=APPEND_ONLY)


def downgrade() -> None:
    for table in ("statements", "meter_events", "samples"):
        op.drop_table(table)
