"""Tables of metering: raw samples, energy of subjects by hour, and final statements.

Nodes and placements are opaque references here: what was metered must outlive a node that is taken away, and the insert of
samples is the hottest write of all, whose node the agent's own key has already proven.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from gridbroker.core.db import metadata

Timestamp = sa.TIMESTAMP(timezone=True)

samples = sa.Table(
    "samples",
    metadata,
    sa.Column("node_id", sa.Uuid, primary_key=True),
    sa.Column("boot_id", sa.Text, primary_key=True),
    sa.Column("gpu_index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("energy_mj", sa.BigInteger, nullable=False),
    sa.Column("power_w", sa.Double, nullable=False),
    sa.Column("utilisation", sa.Double, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Index("ix_samples_node_id_gpu_index_at", "node_id", "gpu_index", "at"),
)
"""`org_id` is the provider's."""

meter_events = sa.Table(
    "meter_events",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
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
    sa.UniqueConstraint("subject_id", "gpu_index", "from_at"),
    sa.Index("ix_meter_events_node_id_gpu_index_from_at", "node_id", "gpu_index", "from_at"),
)
"""`org_id` is the customer's. `closed` events stand in a statement and never change again."""

statements = sa.Table(
    "statements",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id"), nullable=False),
    sa.Column("workload_id", sa.Uuid, nullable=False),
    sa.Column("body", JSONB, nullable=False),
    sa.Column("energy_mj", sa.BigInteger, nullable=False),
    sa.Column("emissions_mg", sa.BigInteger, nullable=False),
    sa.Column("cost_micro", sa.BigInteger, nullable=False),
    sa.Column("closed_at", Timestamp, nullable=False),
    sa.UniqueConstraint("workload_id"),
    sa.Index("ix_statements_org_id_workload_id", "org_id", "workload_id"),
)
