"""Queries of settlement. The ledger is written through its database functions alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from gridbroker.core.claims import NOW
from gridbroker.core.db import Tx
from gridbroker.settlement.charge import Charge, ChargeState, Method
from gridbroker.settlement.ledger import (
    EUR,
    AbovePending,
    Account,
    AlreadyResolved,
    BadAccount,
    Balance,
    Batch,
    BatchReused,
    Kind,
    LedgerRefused,
    NoSuchPending,
    Overdrawn,
    Purpose,
    Transfer,
    hold_batch_id,
    hold_id,
)
from gridbroker.settlement.models import charges, ledger_accounts, ledger_transfers, payouts, receipt_trees, receipts
from gridbroker.settlement.payout import Payout, PayoutState
from gridbroker.settlement.tree import ReceiptState, Tree

_TREE_LOCK = 0x6772_7472
_REFUSALS: dict[str, type[LedgerRefused]] = {
    "GB001": BatchReused,
    "GB002": AlreadyResolved,
    "GB003": NoSuchPending,
    "GB004": AbovePending,
    "GB005": BadAccount,
    "23514": Overdrawn,
    "23505": LedgerRefused,
}
"""Error codes of `ledger_post` (migration 0007); the constraints behind the last two are the guard and unique transfer ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A transfer as the ledger keeps it."""

    seq: int
    transfer: Transfer
    currency: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceipt:
    receipt_id: UUID
    org_id: UUID
    workload_id: UUID
    statement_id: UUID
    state: ReceiptState
    document: bytes
    """Canonical JSON, exactly as signed."""
    leaf_hash: bytes
    salt: bytes
    leaf_index: int | None = None
    path: tuple[bytes, ...] = ()
    tree_id: UUID | None = None
    created_at: datetime


_OPEN = sa.text("select ledger_open(:kind, owner, :currency) from unnest(cast(:owners as uuid[])) owner")
_POST = sa.text("select ledger_post(:batch, cast(:items as jsonb))")
_HOLD = sa.text("select ledger_hold(:owner, :workload, :batch, :transfer, :amount, :currency)")


async def open_accounts(tx: Tx, kind: str, owners: Sequence[UUID]) -> None:
    """Make sure that these organisations have an account of a kind, `wallet` or `payable`."""
    if owners:
        await tx.execute(_OPEN, {"kind": kind, "owners": sorted(owners), "currency": EUR})


async def post(tx: Tx, batch: Batch) -> bool:
    """Post a batch; False when this very batch was posted before. System role. Raises LedgerRefused."""
    return bool(await _call(tx, _POST, {"batch": batch.batch_id, "items": json.dumps([_item(one) for one in batch.transfers])}))


async def hold(tx: Tx, org_id: UUID, workload_id: UUID, amount_micro: int) -> int:
    """Hold money for a workload; 0, or how much is missing (then nothing was written). Raises BatchReused."""
    parameters = {
        "owner": org_id,
        "workload": workload_id,
        "batch": hold_batch_id(workload_id),
        "transfer": hold_id(workload_id),
        "amount": amount_micro,
        "currency": EUR,
    }
    return int(await _call(tx, _HOLD, parameters))


async def _call(tx: Tx, statement: sa.TextClause, parameters: Mapping[str, Any]) -> Any:
    try:
        return await tx.scalar(statement, parameters)
    except DBAPIError as error:
        refusal = _REFUSALS.get(getattr(error.orig, "sqlstate", None) or "")
        if refusal is None:
            raise
        raise refusal(refusal.title) from error


def _item(transfer: Transfer) -> dict[str, Any]:
    return {
        "id": str(transfer.transfer_id),
        "kind": transfer.kind,
        "purpose": transfer.purpose,
        "reference": str(transfer.reference),
        "debit": transfer.debit,
        "credit": transfer.credit,
        "amount_micro": transfer.amount_micro,
        "pending_id": None if transfer.pending_id is None else str(transfer.pending_id),
    }


async def find_balance(tx: Tx, code: str) -> Balance:
    """Stored balance of an account; zeros when there is none."""
    row = (await tx.execute(sa.select(ledger_accounts).where(ledger_accounts.c.code == code))).first()
    return _balance(row) if row else Balance()


async def list_accounts(tx: Tx) -> list[tuple[Account, Balance]]:
    rows = await tx.execute(sa.select(ledger_accounts).order_by(ledger_accounts.c.code))
    return [(Account(row.code, row.currency, row.org_id, row.guarded, row.derived), _balance(row)) for row in rows]


async def list_entries(
    tx: Tx, *, org_id: UUID | None = None, reference: UUID | None = None, before: int | None = None, limit: int | None = None
) -> list[Entry]:
    """Transfers, newest first: those that touch an organisation's accounts, or of one workload, charge or payout."""
    query = sa.select(ledger_transfers).order_by(ledger_transfers.c.seq.desc()).limit(limit)
    if org_id is not None:
        query = query.where(sa.or_(ledger_transfers.c.debit_org_id == org_id, ledger_transfers.c.credit_org_id == org_id))
    if reference is not None:
        query = query.where(ledger_transfers.c.reference == reference)
    if before is not None:
        query = query.where(ledger_transfers.c.seq < before)
    return [_entry(row) for row in await tx.execute(query)]


async def add_charge(tx: Tx, charge: Charge, *, due: bool) -> None:
    await tx.execute(
        charges.insert().values(
            id=charge.charge_id,
            org_id=charge.org_id,
            method=charge.method,
            state=charge.state,
            amount_micro=charge.amount_micro,
            currency=charge.currency,
            workload_id=charge.workload_id,
            payment_method=charge.payment_method,
            created_at=charge.created_at,
            ended_at=charge.ended_at,
            due_at=NOW if due else None,
        )
    )


async def find_charges(tx: Tx, ids: Sequence[UUID]) -> list[Charge]:
    return [_charge(row) for row in await tx.execute(sa.select(charges).where(charges.c.id.in_(ids)))]


async def list_charges(
    tx: Tx, org_id: UUID, *, workload_id: UUID | None = None, before: UUID | None = None, limit: int | None = None
) -> list[Charge]:
    return [_charge(row) for row in await tx.execute(_listing(charges, org_id, workload_id, before, limit))]


async def find_charge_of(tx: Tx, workload_id: UUID) -> Charge | None:
    row = (await tx.execute(sa.select(charges).where(charges.c.workload_id == workload_id))).first()
    return _charge(row) if row else None


async def add_payouts(tx: Tx, rows: Sequence[Payout]) -> None:
    if not rows:
        return
    values = [
        {
            "id": payout.payout_id,
            "org_id": payout.org_id,
            "workload_id": payout.workload_id,
            "state": payout.state,
            "amount_micro": payout.amount_micro,
            "currency": payout.currency,
            "destination": payout.destination,
            "created_at": payout.created_at,
            "due_at": NOW,
        }
        for payout in rows
    ]
    await tx.execute(payouts.insert().values(values))


async def find_payouts(tx: Tx, ids: Sequence[UUID]) -> list[Payout]:
    return [_payout(row) for row in await tx.execute(sa.select(payouts).where(payouts.c.id.in_(ids)))]


async def find_payouts_of(tx: Tx, workload_id: UUID) -> list[Payout]:
    return [_payout(row) for row in await tx.execute(sa.select(payouts).where(payouts.c.workload_id == workload_id))]


async def list_payouts(
    tx: Tx, org_id: UUID, *, workload_id: UUID | None = None, before: UUID | None = None, limit: int | None = None
) -> list[Payout]:
    return [_payout(row) for row in await tx.execute(_listing(payouts, org_id, workload_id, before, limit))]


async def add_receipt(tx: Tx, receipt: StoredReceipt) -> None:
    await tx.execute(
        receipts.insert().values(
            id=receipt.receipt_id,
            org_id=receipt.org_id,
            workload_id=receipt.workload_id,
            statement_id=receipt.statement_id,
            state=receipt.state,
            document=receipt.document,
            leaf_hash=receipt.leaf_hash,
            salt=receipt.salt,
            created_at=receipt.created_at,
        )
    )


async def find_receipt(tx: Tx, receipt_id: UUID) -> StoredReceipt | None:
    row = (await tx.execute(sa.select(receipts).where(receipts.c.id == receipt_id))).first()
    return _receipt(row) if row else None


async def find_receipt_of(tx: Tx, workload_id: UUID) -> StoredReceipt | None:
    row = (await tx.execute(sa.select(receipts).where(receipts.c.workload_id == workload_id))).first()
    return _receipt(row) if row else None


async def list_receipts(
    tx: Tx, org_id: UUID, *, workload_id: UUID | None = None, before: UUID | None = None, limit: int | None = None
) -> list[StoredReceipt]:
    return [_receipt(row) for row in await tx.execute(_listing(receipts, org_id, workload_id, before, limit))]


async def lock_trees(tx: Tx) -> None:
    """Only one tree grows at a time, until the transaction ends."""
    await tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_TREE_LOCK)))


async def list_unbatched(tx: Tx, limit: int) -> list[tuple[UUID, bytes]]:
    """Receipts that are in no tree yet, oldest first: id and leaf hash."""
    query = sa.select(receipts.c.id, receipts.c.leaf_hash).where(receipts.c.state == ReceiptState.SIGNED)
    return [(row.id, row.leaf_hash) for row in await tx.execute(query.order_by(receipts.c.id).limit(limit))]


async def find_last_tree(tx: Tx) -> Tree | None:
    row = (await tx.execute(sa.select(receipt_trees).order_by(receipt_trees.c.number.desc()).limit(1))).first()
    return _tree(row) if row else None


async def find_trees(tx: Tx, ids: Sequence[UUID]) -> list[Tree]:
    return [_tree(row) for row in await tx.execute(sa.select(receipt_trees).where(receipt_trees.c.id.in_(ids)))]


async def add_tree(tx: Tx, tree: Tree, leaves: Sequence[tuple[UUID, list[bytes]]]) -> None:
    """Keep a tree that is due to be anchored, and each leaf's receipt with its proof, in leaf order."""
    await tx.execute(
        receipt_trees.insert().values(
            id=tree.tree_id,
            number=tree.number,
            size=tree.size,
            root=tree.root,
            previous_root=tree.previous_root,
            state=tree.state,
            created_at=tree.created_at,
            due_at=NOW,
        )
    )
    update = (
        receipts.update()
        .where(receipts.c.id == sa.bindparam("receipt"))
        .values(state=ReceiptState.BATCHED, tree_id=tree.tree_id, leaf_index=sa.bindparam("index"), path=sa.bindparam("hashes"))
    )
    await tx.execute(update, [{"receipt": one, "index": index, "hashes": path} for index, (one, path) in enumerate(leaves)])


async def mark_anchored(tx: Tx, tree_id: UUID) -> None:
    await tx.execute(receipts.update().where(receipts.c.tree_id == tree_id).values(state=ReceiptState.ANCHORED))


def _listing(table: sa.Table, org_id: UUID, workload_id: UUID | None, before: UUID | None, limit: int | None) -> sa.Select[Any]:
    query = sa.select(table).where(table.c.org_id == org_id).order_by(table.c.id.desc()).limit(limit)
    if workload_id is not None:
        query = query.where(table.c.workload_id == workload_id)
    return query if before is None else query.where(table.c.id < before)


def _balance(row: sa.Row[Any]) -> Balance:
    return Balance(
        debits_posted=row.debits_posted,
        debits_pending=row.debits_pending,
        credits_posted=row.credits_posted,
        credits_pending=row.credits_pending,
    )


def _entry(row: sa.Row[Any]) -> Entry:
    transfer = Transfer(
        transfer_id=row.id,
        kind=Kind(row.kind),
        purpose=Purpose(row.purpose),
        reference=row.reference,
        debit=row.debit,
        credit=row.credit,
        amount_micro=row.amount_micro,
        pending_id=row.pending_id,
    )
    return Entry(seq=row.seq, transfer=transfer, currency=row.currency, recorded_at=row.recorded_at)


def _charge(row: sa.Row[Any]) -> Charge:
    return Charge(
        charge_id=row.id,
        org_id=row.org_id,
        method=Method(row.method),
        state=ChargeState(row.state),
        amount_micro=row.amount_micro,
        currency=row.currency,
        workload_id=row.workload_id,
        payment_method=row.payment_method,
        external_id=row.external_id,
        state_reason=row.state_reason,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def _payout(row: sa.Row[Any]) -> Payout:
    return Payout(
        payout_id=row.id,
        org_id=row.org_id,
        workload_id=row.workload_id,
        state=PayoutState(row.state),
        amount_micro=row.amount_micro,
        currency=row.currency,
        destination=row.destination,
        external_id=row.external_id,
        state_reason=row.state_reason,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def _receipt(row: sa.Row[Any]) -> StoredReceipt:
    return StoredReceipt(
        receipt_id=row.id,
        org_id=row.org_id,
        workload_id=row.workload_id,
        statement_id=row.statement_id,
        state=ReceiptState(row.state),
        document=row.document,
        leaf_hash=row.leaf_hash,
        salt=row.salt,
        leaf_index=row.leaf_index,
        path=tuple(row.path or ()),
        tree_id=row.tree_id,
        created_at=row.created_at,
    )


def _tree(row: sa.Row[Any]) -> Tree:
    return Tree(
        tree_id=row.id,
        number=row.number,
        size=row.size,
        root=row.root,
        previous_root=row.previous_root,
        state=ReceiptState(row.state),
        external_id=row.external_id,
        created_at=row.created_at,
    )
