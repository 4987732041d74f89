"""Broker: workloads, placements, decisions, checkpoints, events, logs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from gridbroker.migrations.security import APPEND_ONLY, protect

revision = "0008"
down_revision = "0007"

Timestamp = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "workloads",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("spec", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("state_reason", sa.Text, nullable=True),
        sa.Column("outcome", sa.Text, nullable=True),
        sa.Column("stop_requested", sa.Text, nullable=True),
        sa.Column("submitted_at", Timestamp, nullable=False),
        sa.Column("started_at", Timestamp, nullable=True),
        sa.Column("ended_at", Timestamp, nullable=True),
        sa.Column("reviewed_at", Timestamp, nullable=True),
        sa.Column("moves", sa.Integer, nullable=False, server_default="0"),
        sa.Column("restarts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("placements", sa.Integer, nullable=False, server_default="0"),
        sa.Column("step", sa.BigInteger, nullable=True),
        sa.Column("total_steps", sa.BigInteger, nullable=True),
        sa.Column("hold_micro", sa.BigInteger, nullable=False),
        sa.Column("spent_micro", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("energy_mj", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("feasible", JSONB, nullable=True),
        sa.Column("due_at", Timestamp, nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("claim_token", sa.Uuid, nullable=True),
        sa.Column("claim_until", Timestamp, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_workloads"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_workloads_org_id"),
    )
    op.create_index("ix_workloads_due_at", "workloads", ["due_at"], postgresql_where=sa.text("due_at is not null"))
    op.create_index("ix_workloads_org_id_id", "workloads", ["org_id", "id"])
    protect("workloads", app="select, insert, update")
    op.create_table(
        "placements",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("provider_org_id", sa.Uuid, nullable=False),
        sa.Column("workload_id", sa.Uuid, nullable=False),
        sa.Column("node_id", sa.Uuid, nullable=False),
        sa.Column("node_name", sa.Text, nullable=False),
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("gpu_model", sa.Text, nullable=False),
        sa.Column("gpu_indices", sa.ARRAY(sa.Integer), nullable=False),
        sa.Column("price_micro_per_gpu_hour", sa.BigInteger, nullable=False),
        sa.Column("pue", sa.Double, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("end_reason", sa.Text, nullable=True),
        sa.Column("decision_id", sa.Uuid, nullable=False),
        sa.Column("resume_checkpoint_id", sa.Uuid, nullable=True),
        sa.Column("leased_at", Timestamp, nullable=False),
        sa.Column("ordered_wall_at", Timestamp, nullable=True),
        sa.Column("started_at", Timestamp, nullable=True),
        sa.Column("ended_at", Timestamp, nullable=True),
        sa.Column("reported", sa.Text, nullable=True),
        sa.Column("reported_seq", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("reported_running_at", Timestamp, nullable=True),
        sa.Column("reported_ended_at", Timestamp, nullable=True),
        sa.Column("exit_code", sa.Integer, nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_placements"),
        sa.ForeignKeyConstraint(["workload_id"], ["workloads.id"], name="fk_placements_workload_id"),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name="fk_placements_node_id"),
        sa.UniqueConstraint("workload_id", "number", name="uq_placements_workload_id_number"),
    )
    op.create_index("ix_placements_node_id", "placements", ["node_id"], postgresql_where=sa.text("state <> 'ended'"))
    protect("placements", "org_id", "provider_org_id", app="select")
    op.create_table(
        "decisions",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("workload_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("chosen_node_id", sa.Uuid, nullable=True),
        sa.Column("decided_at", Timestamp, nullable=False),
        sa.Column("policy_version", sa.Text, nullable=False),
        sa.Column("snapshot", sa.Text, nullable=False),
        sa.Column("inputs", JSONB, nullable=False),
        sa.Column("body", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sa.ForeignKeyConstraint(["workload_id"], ["workloads.id"], name="fk_decisions_workload_id"),
    )
    op.create_index("ix_decisions_workload_id_id", "decisions", ["workload_id", "id"])
    protect("decisions", app="select")
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("workload_id", sa.Uuid, nullable=False),
        sa.Column("placement_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("manifest_sha256", sa.Text, nullable=False),
        sa.Column("files", JSONB, nullable=False),
        sa.Column("committed_at", Timestamp, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(["workload_id"], ["workloads.id"], name="fk_checkpoints_workload_id"),
        sa.ForeignKeyConstraint(["placement_id"], ["placements.id"], name="fk_checkpoints_placement_id"),
        sa.UniqueConstraint("placement_id", "step", name="uq_checkpoints_placement_id_step"),
    )
    op.create_index("ix_checkpoints_workload_id", "checkpoints", ["workload_id", "number", "step"])
    protect("checkpoints", app="select")
    op.create_table(
        "workload_events",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("workload_id", sa.Uuid, nullable=False),
        sa.Column("at", Timestamp, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workload_events"),
        sa.ForeignKeyConstraint(["workload_id"], ["workloads.id"], name="fk_workload_events_workload_id"),
    )
    op.create_index("ix_workload_events_workload_id_id", "workload_events", ["workload_id", "id"])
    protect("workload_events", app=APPEND_ONLY)
    op.create_table(
        "workload_logs",
        sa.Column("placement_id", sa.Uuid, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("workload_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", Timestamp, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("placement_id", "seq", name="pk_workload_logs"),
        sa.ForeignKeyConstraint(["placement_id"], ["placements.id"], name="fk_workload_logs_placement_id"),
    )
    op.create_index("ix_workload_logs_workload_id", "workload_logs", ["workload_id", "number", "seq"])
    protect("workload_logs", app="select")


def downgrade() -> None:
    for table in ("workload_logs", "workload_events", "checkpoints", "decisions", "placements", "workloads"):
        op.drop_table(table)
