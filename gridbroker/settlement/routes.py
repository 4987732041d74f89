"""HTTP routes of settlement: wallet, ledger entries, charges, payouts, receipts and the key that signs them."""

import re
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, Tx
from gridbroker.core.errors import FieldError, Invalid
from gridbroker.core.money import Currency, format_micro, parse_micro
from gridbroker.core.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, bad_cursor, decode_cursor, page
from gridbroker.core.queue import Queue
from gridbroker.core.settings import Settings
from gridbroker.identity.guards import allow, public
from gridbroker.identity.idempotency import once
from gridbroker.identity.role import PROVIDERS, Caller, Role
from gridbroker.settlement import repository, service
from gridbroker.settlement.charge import Charge, ChargeState, Method
from gridbroker.settlement.data_integrity import Signer, did_key, multikey, verification_method
from gridbroker.settlement.ledger import Kind, Purpose
from gridbroker.settlement.payout import Payout, PayoutState
from gridbroker.settlement.repository import Entry, StoredReceipt
from gridbroker.settlement.tree import ReceiptState, Tree

CREDENTIAL = "application/vc"
MAX_TOP_UP_MICRO = 1_000_000_000_000
"""A million; more is a mistake or a matter for a bank transfer."""
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?", re.ASCII)
_PAYMENT_METHOD = re.compile(r"[A-Za-z0-9_\-]{1,100}", re.ASCII)

_customers = allow(Role.DEVELOPER, Role.FINANCE)
_providers = allow(*PROVIDERS, Role.FINANCE)
_anyone = allow(Role.DEVELOPER, Role.FINANCE, *PROVIDERS)

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


class TopUp(msgspec.Struct, forbid_unknown_fields=True):
    """`amount` is a decimal string with at most two places, such as "25.00"."""

    amount: str
    currency: str
    payment_method: str


class WalletView(msgspec.Struct):
    """Decimal strings; `posted` = `available` + `held`."""

    available: str
    held: str
    posted: str
    currency: str


class ChargeView(msgspec.Struct):
    id: UUID
    method: Method
    state: ChargeState
    state_reason: str | None
    amount: str
    currency: str
    workload_id: UUID | None
    external_id: str | None
    created_at: datetime
    ended_at: datetime | None


class PayoutView(msgspec.Struct):
    id: UUID
    state: PayoutState
    state_reason: str | None
    amount: str
    currency: str
    workload_id: UUID
    destination: str
    external_id: str | None
    created_at: datetime
    ended_at: datetime | None


class EntryView(msgspec.Struct):
    """One transfer: `amount` left the `debit` account for the `credit` account; `pending` ones only reserve it."""

    id: UUID
    seq: int
    kind: Kind
    purpose: Purpose
    reference: UUID
    debit: str
    credit: str
    amount: str
    currency: str
    pending_id: UUID | None
    recorded_at: datetime


class ReceiptView(msgspec.Struct):
    """`salt` (hexadecimal) shows whose receipt it is: the pseudonym is SHA-256 of salt and workload id. Share it with care."""

    id: UUID
    workload_id: UUID
    statement_id: UUID
    state: ReceiptState
    salt: str
    created_at: datetime


class ProofView(msgspec.Struct):
    """Hashes in hexadecimal. `anchor_id` is where `memo` was published, once it was."""

    receipt_id: UUID
    leaf_hash: str
    leaf_index: int
    path: list[str]
    tree_id: UUID
    tree_number: int
    tree_size: int
    root: str
    previous_root: str
    memo: str
    anchor_id: str | None


@post("/api/v1/wallet/top-ups", guards=[_customers], status_code=201, tags=["money"])
async def top_up(
    *,
    request: Request[Any, Any, Any],
    data: JSONBody[TopUp],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    queue: NamedDependency[SkipValidation[Queue]],
) -> Response[bytes]:
    """Ask for money to be charged to a card; the wallet has it when the charge is `paid`."""
    amount_micro = _check_top_up(data)
    created: list[UUID] = []

    async def create(tx: Tx) -> ChargeView:
        charge = await service.request_top_up(tx, clock, caller.org_id, amount_micro, data.payment_method)
        created.append(charge.charge_id)
        return _charge_view(charge)

    response = await once(db, request, caller, create, required=True)
    for charge_id in created:
        queue.hint("charge.advance", charge_id)
    return response


def _check_top_up(data: TopUp) -> int:
    """The amount in micro-units. Raises Invalid naming every field that is wrong."""
    amount_micro = parse_micro(data.amount) if _AMOUNT.fullmatch(data.amount) else 0
    errors: list[FieldError] = []
    if not 0 < amount_micro <= MAX_TOP_UP_MICRO:
        errors.append(FieldError("/amount", 'must be a decimal string above 0, such as "25.00", of at most a million'))
    if data.currency not in set(Currency):
        errors.append(FieldError("/currency", f"must be {' or '.join(Currency)}"))
    if not _PAYMENT_METHOD.fullmatch(data.payment_method):
        errors.append(FieldError("/payment_method", "must be the token of a payment method, such as pm_card_visa"))
    if errors:
        raise Invalid("; ".join(f"{one.pointer}: {one.detail}" for one in errors), errors=errors)
    return amount_micro


@get("/api/v1/wallet", guards=[_customers], tags=["money"])
async def get_wallet(caller: NamedDependency[Caller], db: NamedDependency[Database]) -> WalletView:
    """What the organisation can spend, and what is held for its workloads."""
    async with db.as_org(caller.org_id) as tx:
        found = await service.balance(tx, caller.org_id)
    return WalletView(
        available=format_micro(found.available_micro),
        held=format_micro(found.held_micro),
        posted=format_micro(found.posted_micro),
        currency=found.currency,
    )


@get("/api/v1/ledger/entries", guards=[_anyone], tags=["money"])
async def list_entries(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    reference: FromQuery[UUID | None] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: FromQuery[str | None] = None,
) -> Page[EntryView]:
    """Transfers that touch the organisation's accounts, newest first; with `reference` those of one workload, charge or payout."""
    before = decode_cursor(cursor)
    if before is not None and before.int >= 2**63:
        raise bad_cursor()
    async with db.as_org(caller.org_id) as tx:
        found = await repository.list_entries(
            tx, org_id=caller.org_id, reference=reference, before=before.int if before else None, limit=limit + 1
        )
    # Transfers are ordered by their number: the cursor carries it in the form of an id.
    return page([_entry_view(entry) for entry in found], limit, lambda entry: UUID(int=entry.seq))


@get("/api/v1/charges", guards=[_customers], tags=["money"])
async def list_charges(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    workload_id: FromQuery[UUID | None] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: FromQuery[str | None] = None,
) -> Page[ChargeView]:
    """Top-ups and settled workloads, newest first."""
    async with db.as_org(caller.org_id) as tx:
        found = await repository.list_charges(
            tx, caller.org_id, workload_id=workload_id, before=decode_cursor(cursor), limit=limit + 1
        )
    return page([_charge_view(charge) for charge in found], limit, lambda charge: charge.id)


@get("/api/v1/payouts", guards=[_providers], tags=["money"])
async def list_payouts(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    workload_id: FromQuery[UUID | None] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: FromQuery[str | None] = None,
) -> Page[PayoutView]:
    """What the organisation earned as a provider, newest first."""
    async with db.as_org(caller.org_id) as tx:
        found = await repository.list_payouts(
            tx, caller.org_id, workload_id=workload_id, before=decode_cursor(cursor), limit=limit + 1
        )
    return page([_payout_view(payout) for payout in found], limit, lambda payout: payout.id)


@get("/api/v1/receipts", guards=[_customers], tags=["proof"])
async def list_receipts(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    workload_id: FromQuery[UUID | None] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: FromQuery[str | None] = None,
) -> Page[ReceiptView]:
    """The organisation's carbon receipts, newest first."""
    async with db.as_org(caller.org_id) as tx:
        found = await repository.list_receipts(
            tx, caller.org_id, workload_id=workload_id, before=decode_cursor(cursor), limit=limit + 1
        )
    return page([_receipt_view(receipt) for receipt in found], limit, lambda receipt: receipt.id)


@get("/api/v1/receipts/{receipt_id:uuid}", guards=[_customers], media_type=CREDENTIAL, tags=["proof"])
async def get_receipt(
    receipt_id: FromPath[UUID], caller: NamedDependency[Caller], db: NamedDependency[Database]
) -> Response[bytes]:
    """The Verifiable Credential, byte for byte as it was signed."""
    async with db.as_org(caller.org_id) as tx:
        found = await service.get_receipt(tx, receipt_id)
    return Response(found.document, media_type=CREDENTIAL)


@get("/api/v1/receipts/{receipt_id:uuid}/proof", guards=[_customers], tags=["proof"])
async def get_proof(receipt_id: FromPath[UUID], caller: NamedDependency[Caller], db: NamedDependency[Database]) -> ProofView:
    """That the receipt is in a tree whose root is anchored. `receipt_not_batched` until it is in one."""
    async with db.as_org(caller.org_id) as tx:
        found, tree = await service.get_proof(tx, receipt_id)
    return _proof_view(found, tree)


@get("/.well-known/did.json", guards=[public], media_type="application/did+json", tags=["proof"])
async def get_did(signer: NamedDependency[SkipValidation[Signer]], settings: NamedDependency[Settings]) -> Response[dict[str, Any]]:
    """The key that signs receipts. Whoever trusts this server's name and certificate may trust receipts signed with it."""
    return Response(_did_document(_did_web(settings.issuer_url), signer), media_type="application/did+json")


def _did_web(url: str) -> str:
    """did:web of a server: the port's colon is percent-encoded."""
    return "did:web:" + urlsplit(url).netloc.replace(":", "%3A")


def _did_document(did: str, signer: Signer) -> dict[str, Any]:
    method = verification_method(signer.public_key)
    key = {
        "id": method,
        "type": "Multikey",
        "controller": did_key(signer.public_key),
        "publicKeyMultibase": multikey(signer.public_key),
    }
    return {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "alsoKnownAs": [did_key(signer.public_key)],
        "verificationMethod": [key],
        "assertionMethod": [method],
    }


def _charge_view(charge: Charge) -> ChargeView:
    return ChargeView(
        id=charge.charge_id,
        method=charge.method,
        state=charge.state,
        state_reason=charge.state_reason,
        amount=format_micro(charge.amount_micro),
        currency=charge.currency,
        workload_id=charge.workload_id,
        external_id=charge.external_id,
        created_at=charge.created_at,
        ended_at=charge.ended_at,
    )


def _payout_view(payout: Payout) -> PayoutView:
    return PayoutView(
        id=payout.payout_id,
        state=payout.state,
        state_reason=payout.state_reason,
        amount=format_micro(payout.amount_micro),
        currency=payout.currency,
        workload_id=payout.workload_id,
        destination=payout.destination,
        external_id=payout.external_id,
        created_at=payout.created_at,
        ended_at=payout.ended_at,
    )


def _entry_view(entry: Entry) -> EntryView:
    transfer = entry.transfer
    return EntryView(
        id=transfer.transfer_id,
        seq=entry.seq,
        kind=transfer.kind,
        purpose=transfer.purpose,
        reference=transfer.reference,
        debit=transfer.debit or "",
        credit=transfer.credit or "",
        amount=format_micro(transfer.amount_micro),
        currency=entry.currency,
        pending_id=transfer.pending_id,
        recorded_at=entry.recorded_at,
    )


def _receipt_view(receipt: StoredReceipt) -> ReceiptView:
    return ReceiptView(
        id=receipt.receipt_id,
        workload_id=receipt.workload_id,
        statement_id=receipt.statement_id,
        state=receipt.state,
        salt=receipt.salt.hex(),
        created_at=receipt.created_at,
    )


def _proof_view(receipt: StoredReceipt, tree: Tree) -> ProofView:
    assert receipt.leaf_index is not None, "the table's check ties it to the tree"
    return ProofView(
        receipt_id=receipt.receipt_id,
        leaf_hash=receipt.leaf_hash.hex(),
        leaf_index=receipt.leaf_index,
        path=[one.hex() for one in receipt.path],
        tree_id=tree.tree_id,
        tree_number=tree.number,
        tree_size=tree.size,
        root=tree.root.hex(),
        previous_root=tree.previous_root.hex(),
        memo=tree.memo,
        anchor_id=tree.external_id,
    )


ROUTES = [
    top_up,
    get_wallet,
    list_entries,
    list_charges,
    list_payouts,
    list_receipts,
    get_receipt,
    get_proof,
    get_did,
]
