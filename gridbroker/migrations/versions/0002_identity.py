"""Identity: organisations, API keys, answers kept for idempotent retries."""

import sqlalchemy as sa
from alembic import op

from gridbroker.migrations.security import READ_ONLY, protect

revision = "0002"
down_revision = "0001"

Timestamp = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("home_zone", sa.Text, nullable=True),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.UniqueConstraint("name", name="uq_organisations_name"),
        sa.PrimaryKeyConstraint("id", name="pk_organisations"),
    )
    protect("organisations", "id", app=READ_ONLY)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id", name="fk_api_keys_org_id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("node_id", sa.Uuid, nullable=True),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.Column("expires_at", Timestamp, nullable=True),
        sa.Column("revoked_at", Timestamp, nullable=True),
        sa.Column("last_used_at", Timestamp, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
    )
    op.create_index("ix_api_keys_org_id", "api_keys", ["org_id"])
    op.create_index("ix_api_keys_node_id", "api_keys", ["node_id"], postgresql_where=sa.text("node_id is not null"))
    protect("api_keys", app="select, insert, update")
    op.create_table(
        "idempotency_keys",
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", Timestamp, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.PrimaryKeyConstraint("org_id", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    protect("idempotency_keys", app="select, insert")


def downgrade() -> None:
    for table in ("idempotency_keys", "api_keys", "organisations"):
        op.drop_table(table)
