"""Pricing: the quotes that customers were given."""

import sqlalchemy as sa
from alembic import op

from gridbroker.migrations.security import APPEND_ONLY, protect

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "quotes",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, sa.ForeignKey("organisations.id", name="fk_quotes_org_id"), nullable=False),
        sa.Column("workload_id", sa.Uuid, nullable=False),
        sa.Column("rate_card_version", sa.Text, nullable=False),
        sa.Column("gpu_hours_low", sa.Double, nullable=False),
        sa.Column("gpu_hours_expected", sa.Double, nullable=False),
        sa.Column("gpu_hours_high", sa.Double, nullable=False),
        sa.Column("cost_micro_low", sa.BigInteger, nullable=False),
        sa.Column("cost_micro_expected", sa.BigInteger, nullable=False),
        sa.Column("cost_micro_high", sa.BigInteger, nullable=False),
        sa.Column("energy_mj_low", sa.BigInteger, nullable=False),
        sa.Column("energy_mj_expected", sa.BigInteger, nullable=False),
        sa.Column("energy_mj_high", sa.BigInteger, nullable=False),
        sa.Column("emissions_mg_low", sa.BigInteger, nullable=False),
        sa.Column("emissions_mg_expected", sa.BigInteger, nullable=False),
        sa.Column("emissions_mg_high", sa.BigInteger, nullable=False),
        sa.Column("hold_micro", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("basis", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quotes"),
        sa.UniqueConstraint("workload_id", name="uq_quotes_workload_id"),
    )
    protect("quotes", app=APPEND_ONLY, system=APPEND_ONLY)


def downgrade() -> None:
    op.drop_table("quotes")
