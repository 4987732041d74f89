"""Grid: signals of every zone and hour, with their revisions."""

import sqlalchemy as sa
from alembic import op

from gridbroker.core.versioned import Xid8
from gridbroker.migrations.security import APPEND_ONLY, READ_ONLY, grant

revision = "0003"
down_revision = "0002"

Timestamp = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "grid_signals",
        sa.Column("id", sa.Uuid, nullable=False),
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
        sa.Column("xid", Xid8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
        sa.PrimaryKeyConstraint("id", name="pk_grid_signals"),
        sa.UniqueConstraint("zone", "kind", "at", "source", "averaging", "scope", "revision", name="uq_grid_signals_revision"),
    )
    op.create_index("ix_grid_signals_at", "grid_signals", ["at"])
    grant("grid_signals", app=READ_ONLY, system=APPEND_ONLY)


def downgrade() -> None:
    op.drop_table("grid_signals")
