"""Settlement: the ledger with its rules, charges, payouts, receipts and their trees."""

import sqlalchemy as sa
from alembic import op

from gridbroker.core.db import APP_ROLE, SYSTEM_ROLE
from gridbroker.migrations.security import CURRENT_ORG, READ_ONLY, grant, protect

revision = "0007"
down_revision = "0006"

Timestamp = sa.TIMESTAMP(timezone=True)
WORK_ROW = "select, insert, update"
_OPEN_PLATFORM_ACCOUNT = "insert into ledger_accounts (code, currency, guarded, derived) values (:code, 'EUR', false, true)"
PLATFORM_ACCOUNTS = ("card:clearing", "escrow", "revenue:platform_fee", "payout:clearing")


def upgrade() -> None:
    _create_ledger()
    _create_charges()
    _create_payouts()
    _create_receipts()


def downgrade() -> None:
    for table in ("receipts", "receipt_trees", "payouts", "charges", "ledger_transfers", "ledger_batches", "ledger_accounts"):
        op.drop_table(table)
    for function in _FUNCTIONS:
        op.execute(f"drop function {function}")


def _create_ledger() -> None:
    op.create_table(
        "ledger_accounts",
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=True),
        sa.Column("guarded", sa.Boolean, nullable=False),
        sa.Column("derived", sa.Boolean, nullable=False),
        sa.Column("debits_posted", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("debits_pending", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("credits_posted", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("credits_pending", sa.BigInteger, nullable=False, server_default="0"),
        sa.CheckConstraint(
            "least(debits_posted, debits_pending, credits_posted, credits_pending) >= 0",
            name=op.f("ck_ledger_accounts_not_negative"),
        ),
        sa.CheckConstraint(
            "not guarded or debits_posted + debits_pending <= credits_posted", name=op.f("ck_ledger_accounts_no_overdraft")
        ),
        sa.CheckConstraint("not (guarded and derived)", name=op.f("ck_ledger_accounts_guard_is_stored")),
        sa.PrimaryKeyConstraint("code", name="pk_ledger_accounts"),
    )
    op.create_index("ix_ledger_accounts_org_id", "ledger_accounts", ["org_id"], postgresql_where=sa.text("org_id is not null"))
    op.create_table(
        "ledger_batches",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("body_hash", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", Timestamp, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_batches"),
    )
    _create_transfers()
    protect("ledger_accounts", app=READ_ONLY, system=READ_ONLY)
    protect("ledger_transfers", "debit_org_id", "credit_org_id", app=READ_ONLY, system=READ_ONLY)
    grant("ledger_batches", app=None, system=READ_ONLY)
    for table in ("ledger_accounts", "ledger_transfers"):
        # Forced row security binds the owner too, as whom the functions below run and foreign keys are checked.
        op.execute(f"create policy {table}_owner on {table} to current_user using (true) with check (true)")
    for code in PLATFORM_ACCOUNTS:
        op.execute(sa.text(_OPEN_PLATFORM_ACCOUNT).bindparams(code=f"{code}:EUR"))
    _create_functions()


def _create_transfers() -> None:
    op.create_table(
        "ledger_transfers",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("seq", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.Uuid, sa.ForeignKey("ledger_batches.id", name="fk_ledger_transfers_batch_id"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("reference", sa.Uuid, nullable=False),
        sa.Column("debit", sa.Text, sa.ForeignKey("ledger_accounts.code", name="fk_ledger_transfers_debit"), nullable=False),
        sa.Column("credit", sa.Text, sa.ForeignKey("ledger_accounts.code", name="fk_ledger_transfers_credit"), nullable=False),
        sa.Column("amount_micro", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("pending_id", sa.Uuid, nullable=True),
        sa.Column("debit_org_id", sa.Uuid, nullable=True),
        sa.Column("credit_org_id", sa.Uuid, nullable=True),
        sa.Column("recorded_at", Timestamp, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.CheckConstraint("kind in ('single', 'pending', 'post', 'void')", name=op.f("ck_ledger_transfers_kind")),
        sa.CheckConstraint("amount_micro > 0 or (kind = 'void' and amount_micro = 0)", name=op.f("ck_ledger_transfers_amount")),
        sa.CheckConstraint("(kind in ('post', 'void')) = (pending_id is not null)", name=op.f("ck_ledger_transfers_pending")),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_ledger_transfers_two_accounts")),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_transfers"),
        sa.ForeignKeyConstraint(["pending_id"], ["ledger_transfers.id"], name="fk_ledger_transfers_pending_id"),
        sa.UniqueConstraint("seq", name="uq_ledger_transfers_seq"),
    )
    op.create_index(
        "uq_ledger_transfers_pending_id",
        "ledger_transfers",
        ["pending_id"],
        unique=True,
        postgresql_where=sa.text("pending_id is not null"),
    )
    op.create_index("ix_ledger_transfers_reference", "ledger_transfers", ["reference"])
    for column in ("debit_org_id", "credit_org_id"):
        where = sa.text(f"{column} is not null")
        op.create_index(f"ix_ledger_transfers_{column}", "ledger_transfers", [column, "seq"], postgresql_where=where)


def _create_functions() -> None:
    for definition in _FUNCTIONS.values():
        op.execute(definition)
    for function in _FUNCTIONS:
        op.execute(f"revoke all on function {function} from public")
    op.execute(f"grant execute on function {_POST} to {SYSTEM_ROLE}")
    for function in (_OPEN, _HOLD):
        op.execute(f"grant execute on function {function} to {APP_ROLE}, {SYSTEM_ROLE}")
    for table in ("ledger_transfers", "ledger_batches"):
        op.execute(
            f"create trigger {table}_append_only before update or delete or truncate on {table} "
            "for each statement execute function ledger_append_only()"
        )


_FORBID = "ledger_append_only()"
_AUTHORISE = "ledger_authorise(uuid)"
_OPEN = "ledger_open(text, uuid, text)"
_POST = "ledger_post(uuid, jsonb)"
_HOLD = "ledger_hold(uuid, uuid, uuid, uuid, bigint, text)"

# Error codes: GB001 batch reused, GB002 already resolved, GB003 no such pending transfer, GB004 above the pending amount,
# GB005 bad account. An overdraft is the check constraint's own 23514.
_FUNCTIONS = {
    _FORBID: """
create function ledger_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'the ledger is append-only: correct it with another transfer' using errcode = '42501';
end $$""",
    _AUTHORISE: f"""
create function ledger_authorise(owner uuid) returns void language plpgsql stable set search_path = public, pg_temp as $$
declare
  -- current_user is the function's owner here; the role that was set, or else the login, is who calls.
  caller name := coalesce(nullif(current_setting('role', true), 'none'), session_user);
begin
  if owner is distinct from {CURRENT_ORG} and not pg_has_role(caller, '{SYSTEM_ROLE}', 'usage') then
    raise exception 'this transaction is not bound to the organisation that owns the account' using errcode = '42501';
  end if;
end $$""",
    _OPEN: """
create function ledger_open(kind text, owner uuid, account_currency text) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform ledger_authorise(owner);
  insert into ledger_accounts (code, currency, org_id, guarded, derived) values (
    case kind
      when 'wallet' then format('wallet:%s:%s', owner, account_currency)
      when 'payable' then format('provider:%s:payable:%s', owner, account_currency)
    end, account_currency, owner, true, false)
  on conflict (code) do nothing;
end $$""",
    _POST: """
create function ledger_post(batch uuid, items jsonb) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  body bytea := sha256(convert_to(items::text, 'utf8'));
  item record;
  held ledger_transfers;
  source ledger_accounts;
  target ledger_accounts;
  reserved bigint;
  posted bigint;
begin
  insert into ledger_batches (id, body_hash) values (batch, body) on conflict (id) do nothing;
  if not found then
    if not exists (select from ledger_batches where id = batch and body_hash = body) then
      raise exception 'batch % was posted before with other transfers', batch using errcode = 'GB001';
    end if;
    return false;
  end if;

  -- One order of locks for everybody, so that batches never deadlock.
  perform from ledger_accounts a
   where not a.derived and a.code in (
     select unnest(array[i.debit, i.credit]) from jsonb_to_recordset(items) as i(debit text, credit text)
     union
     select unnest(array[p.debit, p.credit])
       from jsonb_to_recordset(items) as i(pending_id uuid) join ledger_transfers p on p.id = i.pending_id)
   order by a.code for no key update;

  for item in
    select * from jsonb_to_recordset(items) as i(
      id uuid, kind text, purpose text, reference uuid, debit text, credit text, amount_micro bigint, pending_id uuid)
  loop
    held := null;
    if item.pending_id is not null then
      select * into held from ledger_transfers where id = item.pending_id and kind = 'pending';
      if not found or item.kind not in ('post', 'void') then
        raise exception 'there is no pending transfer %', item.pending_id using errcode = 'GB003';
      end if;
      if exists (select from ledger_transfers where pending_id = item.pending_id) then
        raise exception 'transfer % was posted or voided before', item.pending_id using errcode = 'GB002';
      end if;
      if item.amount_micro > held.amount_micro then
        raise exception '% is above the pending amount of %', item.amount_micro, held.amount_micro using errcode = 'GB004';
      end if;
    end if;

    select * into source from ledger_accounts where code = coalesce(held.debit, item.debit);
    select * into target from ledger_accounts where code = coalesce(held.credit, item.credit);
    if source.code is null or target.code is null or source.currency <> target.currency or source.code = target.code then
      raise exception 'no transfer from % to %', coalesce(held.debit, item.debit), coalesce(held.credit, item.credit)
        using errcode = 'GB005';
    end if;

    insert into ledger_transfers (
      id, batch_id, kind, purpose, reference, debit, credit, amount_micro, currency, pending_id, debit_org_id, credit_org_id)
    values (
      item.id, batch, item.kind, item.purpose, item.reference, source.code, target.code, item.amount_micro, source.currency,
      item.pending_id, source.org_id, target.org_id);

    posted := case when item.kind in ('single', 'post') then item.amount_micro else 0 end;
    reserved := case when item.kind = 'pending' then item.amount_micro else -coalesce(held.amount_micro, 0) end;
    if not source.derived then
      update ledger_accounts set debits_posted = debits_posted + posted, debits_pending = debits_pending + reserved
       where code = source.code;
    end if;
    if not target.derived then
      update ledger_accounts set credits_posted = credits_posted + posted, credits_pending = credits_pending + reserved
       where code = target.code;
    end if;
  end loop;
  return true;
end $$""",
    _HOLD: """
create function ledger_hold(owner uuid, workload uuid, batch uuid, transfer uuid, amount_micro bigint, account_currency text)
returns bigint language plpgsql security definer set search_path = public, pg_temp as $$
-- Holds an organisation's money for a workload; returns 0, or what is missing, in which case nothing was written.
declare
  wallet text := format('wallet:%s:%s', owner, account_currency);
  available bigint;
begin
  perform ledger_authorise(owner);
  select a.credits_posted - a.debits_posted - a.debits_pending into available
    from ledger_accounts a where a.code = wallet for no key update;
  if coalesce(available, 0) < amount_micro and not exists (select from ledger_batches where id = batch) then
    return amount_micro - coalesce(available, 0);
  end if;
  perform ledger_post(batch, jsonb_build_array(jsonb_build_object(
    'id', transfer, 'kind', 'pending', 'purpose', 'hold', 'reference', workload,
    'debit', wallet, 'credit', 'escrow:' || account_currency, 'amount_micro', amount_micro)));
  return 0;
end $$""",
}


def _claim_columns() -> list[sa.Column]:
    return [
        sa.Column("due_at", Timestamp, nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("claim_token", sa.Uuid, nullable=True),
        sa.Column("claim_until", Timestamp, nullable=True),
    ]


def _create_charges() -> None:
    op.create_table(
        "charges",
        sa.Column("id", sa.Uuid, nullable=False),
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
        *_claim_columns(),
        sa.CheckConstraint("amount_micro > 0", name=op.f("ck_charges_amount")),
        sa.CheckConstraint("state in ('due', 'paid', 'declined')", name=op.f("ck_charges_state")),
        sa.CheckConstraint("(method = 'card') = (payment_method is not null)", name=op.f("ck_charges_payment_method")),
        sa.PrimaryKeyConstraint("id", name="pk_charges"),
        sa.UniqueConstraint("workload_id", name="uq_charges_workload_id"),
    )
    op.create_index("ix_charges_org_id", "charges", ["org_id", "id"])
    op.create_index("ix_charges_due_at", "charges", ["due_at"], postgresql_where=sa.text("due_at is not null"))
    protect("charges", app="select, insert", system=WORK_ROW)


def _create_payouts() -> None:
    op.create_table(
        "payouts",
        sa.Column("id", sa.Uuid, nullable=False),
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
        *_claim_columns(),
        sa.CheckConstraint("amount_micro > 0", name=op.f("ck_payouts_amount")),
        sa.CheckConstraint("state in ('due', 'sent', 'paid', 'failed')", name=op.f("ck_payouts_state")),
        sa.PrimaryKeyConstraint("id", name="pk_payouts"),
        sa.UniqueConstraint("workload_id", "org_id", name="uq_payouts_workload_id"),
    )
    op.create_index("ix_payouts_org_id", "payouts", ["org_id", "id"])
    op.create_index("ix_payouts_due_at", "payouts", ["due_at"], postgresql_where=sa.text("due_at is not null"))
    protect("payouts", app=READ_ONLY, system=WORK_ROW)


def _create_receipts() -> None:
    op.create_table(
        "receipt_trees",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("previous_root", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("state_reason", sa.Text, nullable=True),
        sa.Column("external_id", sa.Text, nullable=True),
        sa.Column("created_at", Timestamp, nullable=False),
        *_claim_columns(),
        sa.CheckConstraint("state in ('batched', 'anchored')", name=op.f("ck_receipt_trees_state")),
        sa.CheckConstraint("size > 0", name=op.f("ck_receipt_trees_size")),
        sa.PrimaryKeyConstraint("id", name="pk_receipt_trees"),
        sa.UniqueConstraint("number", name="uq_receipt_trees_number"),
    )
    op.create_index("ix_receipt_trees_due_at", "receipt_trees", ["due_at"], postgresql_where=sa.text("due_at is not null"))
    grant("receipt_trees", system=WORK_ROW)
    op.create_table(
        "receipts",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("org_id", sa.Uuid, nullable=False),
        sa.Column("workload_id", sa.Uuid, nullable=False),
        sa.Column("statement_id", sa.Uuid, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("tree_id", sa.Uuid, sa.ForeignKey("receipt_trees.id", name="fk_receipts_tree_id"), nullable=True),
        sa.Column("leaf_index", sa.Integer, nullable=True),
        sa.Column("path", sa.ARRAY(sa.LargeBinary), nullable=True),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.CheckConstraint("state in ('signed', 'batched', 'anchored')", name=op.f("ck_receipts_state")),
        sa.CheckConstraint(
            "num_nulls(tree_id, leaf_index, path) = case when state = 'signed' then 3 else 0 end", name=op.f("ck_receipts_tree")
        ),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
        sa.UniqueConstraint("workload_id", name="uq_receipts_workload_id"),
        sa.UniqueConstraint("statement_id", name="uq_receipts_statement_id"),
    )
    op.create_index("ix_receipts_org_id", "receipts", ["org_id", "id"])
    op.create_index("ix_receipts_tree_id", "receipts", ["tree_id", "leaf_index"])
    op.create_index("ix_receipts_signed", "receipts", ["id"], postgresql_where=sa.text("state = 'signed'"))
    protect("receipts", app=READ_ONLY, system=WORK_ROW)
