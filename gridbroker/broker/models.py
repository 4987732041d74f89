"""Tables of broker: workloads, their placements, decisions, checkpoints, events and logs."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from gridbroker.core.claims import claim_columns
from gridbroker.core.db import metadata

Timestamp = sa.TIMESTAMP(timezone=True)

workloads = sa.Table(
    "workloads",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id"), nullable=False),
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
    *claim_columns(),
    sa.Index("ix_workloads_org_id_id", "org_id", "id"),
    sa.Index("ix_workloads_due_at", "due_at", postgresql_where=sa.text("due_at is not null")),
)

placements = sa.Table(
    "placements",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("provider_org_id", sa.Uuid, nullable=False),
    sa.Column("workload_id", sa.Uuid, sa.ForeignKey("workloads.id"), nullable=False),
    sa.Column("node_id", sa.Uuid, sa.ForeignKey("nodes.id"), nullable=False),
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
    sa.UniqueConstraint("workload_id", "number"),
    sa.Index("ix_placements_node_id", "node_id", postgresql_where=sa.text("state <> 'ended'")),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("workload_id", sa.Uuid, sa.ForeignKey("workloads.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("chosen_node_id", sa.Uuid, nullable=True),
    sa.Column("decided_at", Timestamp, nullable=False),
    sa.Column("policy_version", sa.Text, nullable=False),
    sa.Column("snapshot", sa.Text, nullable=False),
    sa.Column("inputs", JSONB, nullable=False),
    sa.Column("body", JSONB, nullable=False),
    sa.Index("ix_decisions_workload_id_id", "workload_id", "id"),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("workload_id", sa.Uuid, sa.ForeignKey("workloads.id"), nullable=False),
    sa.Column("placement_id", sa.Uuid, sa.ForeignKey("placements.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("manifest_sha256", sa.Text, nullable=False),
    sa.Column("files", JSONB, nullable=False),
    sa.Column("committed_at", Timestamp, nullable=False),
    sa.UniqueConstraint("placement_id", "step"),
    sa.Index("ix_checkpoints_workload_id", "workload_id", "number", "step"),
)

workload_events = sa.Table(
    "workload_events",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("workload_id", sa.Uuid, sa.ForeignKey("workloads.id"), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("detail", JSONB, nullable=False),
    sa.Index("ix_workload_events_workload_id_id", "workload_id", "id"),
)

workload_logs = sa.Table(
    "workload_logs",
    metadata,
    sa.Column("placement_id", sa.Uuid, sa.ForeignKey("placements.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("workload_id", sa.Uuid, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Index("ix_workload_logs_workload_id", "workload_id", "number", "seq"),
)
