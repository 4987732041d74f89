"""Tables of grid."""

import sqlalchemy as sa

from gridbroker.core.db import metadata
from gridbroker.core.versioned import xid_column

Timestamp = sa.TIMESTAMP(timezone=True)

grid_signals = sa.Table(
    "grid_signals",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("zone", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("quality", sa.Text, nullable=False),
    sa.Column("averaging", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("recorded_at", Timestamp, nullable=False),
    xid_column(),
    sa.UniqueConstraint("zone", "kind", "at", "source", "averaging", "scope", "revision", name="uq_grid_signals_revision"),
    sa.Index("ix_grid_signals_at", "at"),
)
"""Only ever added to: a correction is a further revision. Belongs to no organisation, so every one may read it."""
