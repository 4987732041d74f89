"""Tables of settlement: the ledger, charges, payouts, receipts and the trees that batch them."""

import sqlalchemy as sa

from gridbroker.core.claims import claim_columns
from gridbroker.core.db import metadata

Timestamp = sa.TIMESTAMP(timezone=True)
_ZERO = {"nullable": False, "server_default": "0"}

ledger_accounts = sa.Table(
    "ledger_accounts",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("org_id", sa.Uuid, nullable=True),
    sa.Column("guarded", sa.Boolean, nullable=False),
    sa.Column("derived", sa.Boolean, nullable=False),
    sa.Column("debits_posted", sa.BigInteger, **_ZERO),
    sa.Column("debits_pending", sa.BigInteger, **_ZERO),
    sa.Column("credits_posted", sa.BigInteger, **_ZERO),
    sa.Column("credits_pending", sa.BigInteger, **_ZERO),
    sa.CheckConstraint("least(debits_posted, debits_pending, credits_posted, credits_pending) >= 0", name="not_negative"),
    sa.CheckConstraint("not guarded or debits_posted + debits_pending <= credits_posted", name="no_overdraft"),
    sa.CheckConstraint("not (guarded and derived)", name="guard_is_stored"),
    sa.Index("ix_ledger_accounts_org_id", "org_id", postgresql_where=sa.text("org_id is not null")),
)

ledger_batches = sa.Table(
    "ledger_batches",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("body_hash", sa.LargeBinary, nullable=False),
    sa.Column("recorded_at", Timestamp, nullable=False, server_default=sa.text("clock_timestamp()")),
)

ledger_transfers = sa.Table(
    "ledger_transfers",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("seq", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("batch_id", sa.Uuid, sa.ForeignKey("ledger_batches.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("reference", sa.Uuid, nullable=False),
    sa.Column("debit", sa.Text, sa.ForeignKey("ledger_accounts.code"), nullable=False),
    sa.Column("credit", sa.Text, sa.ForeignKey("ledger_accounts.code"), nullable=False),
    sa.Column("amount_micro", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("pending_id", sa.Uuid, sa.ForeignKey("ledger_transfers.id"), nullable=True),
    sa.Column("debit_org_id", sa.Uuid, nullable=True),
    sa.Column("credit_org_id", sa.Uuid, nullable=True),
    sa.Column("recorded_at", Timestamp, nullable=False, server_default=sa.text("clock_timestamp()")),
    sa.CheckConstraint("kind in ('single', 'pending', 'post', 'void')", name="kind"),
    sa.CheckConstraint("amount_micro > 0 or (kind = 'void' and amount_micro = 0)", name="amount"),
    sa.CheckConstraint("(kind in ('post', 'void')) = (pending_id is not null)", name="pending"),
    sa.CheckConstraint("debit <> credit", name="two_accounts"),
    sa.UniqueConstraint("seq"),
    sa.Index("uq_ledger_transfers_pending_id", "pending_id", unique=True, postgresql_where=sa.text("pending_id is not null")),
    sa.Index("ix_ledger_transfers_reference", "reference"),
    sa.Index("ix_ledger_transfers_debit_org_id", "debit_org_id", "seq", postgresql_where=sa.text("debit_org_id is not null")),
    sa.Index("ix_ledger_transfers_credit_org_id", "credit_org_id", "seq", postgresql_where=sa.text("credit_org_id is not null")),
)

charges = sa.Table(
    "charges",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("state_reason", sa.Text, nullable=True),
    sa.Column("amount_micro", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("workload_id", sa.Uuid, nullable=True),
    sa.Column("payment_method", sa.Text, nullable=True),
    sa.Column("external_id", sa.Text, nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("ended_at", Timestamp, nullable=True),
    *claim_columns(),
    sa.CheckConstraint("amount_micro > 0", name="amount"),
    sa.CheckConstraint("state in ('due', 'paid', 'declined')", name="state"),
    sa.CheckConstraint("(method = 'card') = (payment_method is not null)", name="payment_method"),
    sa.UniqueConstraint("workload_id"),
    sa.Index("ix_charges_org_id", "org_id", "id"),
    sa.Index("ix_charges_due_at", "due_at", postgresql_where=sa.text("due_at is not null")),
)

payouts = sa.Table(
    "payouts",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("workload_id", sa.Uuid, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("state_reason", sa.Text, nullable=True),
    sa.Column("amount_micro", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("external_id", sa.Text, nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("ended_at", Timestamp, nullable=True),
    *claim_columns(),
    sa.CheckConstraint("amount_micro > 0", name="amount"),
    sa.CheckConstraint("state in ('due', 'sent', 'paid', 'failed')", name="state"),
    sa.UniqueConstraint("workload_id", "org_id", name="uq_payouts_workload_id"),
    sa.Index("ix_payouts_org_id", "org_id", "id"),
    sa.Index("ix_payouts_due_at", "due_at", postgresql_where=sa.text("due_at is not null")),
)

receipt_trees = sa.Table(
    "receipt_trees",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("previous_root", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("state_reason", sa.Text, nullable=True),
    sa.Column("external_id", sa.Text, nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    *claim_columns(),
    sa.CheckConstraint("state in ('batched', 'anchored')", name="state"),
    sa.CheckConstraint("size > 0", name="size"),
    sa.UniqueConstraint("number"),
    sa.Index("ix_receipt_trees_due_at", "due_at", postgresql_where=sa.text("due_at is not null")),
)

receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("org_id", sa.Uuid, nullable=False),
    sa.Column("workload_id", sa.Uuid, nullable=False),
    sa.Column("statement_id", sa.Uuid, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("tree_id", sa.Uuid, sa.ForeignKey("receipt_trees.id"), nullable=True),
    sa.Column("leaf_index", sa.Integer, nullable=True),
    sa.Column("path", sa.ARRAY(sa.LargeBinary), nullable=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.CheckConstraint("state in ('signed', 'batched', 'anchored')", name="state"),
    sa.CheckConstraint("num_nulls(tree_id, leaf_index, path) = case when state = 'signed' then 3 else 0 end", name="tree"),
    sa.UniqueConstraint("workload_id"),
    sa.UniqueConstraint("statement_id"),
    sa.Index("ix_receipts_org_id", "org_id", "id"),
    sa.Index("ix_receipts_tree_id", "tree_id", "leaf_index"),
    sa.Index("ix_receipts_signed", "id", postgresql_where=sa.text("state = 'signed'")),
)
