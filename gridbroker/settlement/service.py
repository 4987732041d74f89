"""Use cases of settlement. All take the transaction first and never commit.

Hints that the caller may send after the commit: `charge.advance` with a charge's id, `payout.advance` with a payout's,
`receipt.batch` with a receipt's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import gridbroker
from gridbroker.core.clock import Clock
from gridbroker.core.db import Tx
from gridbroker.core.errors import Conflict, InsufficientFunds, NotFound
from gridbroker.core.money import format_micro
from gridbroker.metering.statement import Statement
from gridbroker.settlement import ledger, receipt, repository
from gridbroker.settlement.book import Book
from gridbroker.settlement.charge import Charge, ChargeState, Method
from gridbroker.settlement.data_integrity import Signer, canonical
from gridbroker.settlement.division import Division, divide
from gridbroker.settlement.merkle import leaf_hash
from gridbroker.settlement.payout import Payout, PayoutState, destination_of
from gridbroker.settlement.repository import StoredReceipt
from gridbroker.settlement.tree import ReceiptState, Tree
from gridbroker.settlement.verify import verify


class NotBatched(Conflict):
    code, title = "receipt_not_batched", "The receipt is signed but not in a tree yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletBalance:
    available_micro: int
    """What a new hold may use."""
    held_micro: int
    posted_micro: int
    """Available plus held."""
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a settled workload left behind."""

    workload_id: UUID
    division: Division
    charge_id: UUID | None
    """None when nothing was charged."""
    payout_ids: tuple[UUID, ...]
    """In the order of the division's shares."""
    receipt_id: UUID


async def ensure_wallet(tx: Tx, org_id: UUID) -> None:
    """Open the organisation's wallet unless it has one. As that organisation or as the system."""
    await repository.open_accounts(tx, "wallet", [org_id])


async def balance(tx: Tx, org_id: UUID) -> WalletBalance:
    """An organisation without a wallet has zeros."""
    found = await repository.find_balance(tx, ledger.wallet(org_id).code)
    return WalletBalance(
        available_micro=found.available_micro,
        held_micro=found.debits_pending,
        posted_micro=found.posted_micro,
        currency=ledger.EUR,
    )


async def place_hold(tx: Tx, org_id: UUID, workload_id: UUID, amount_micro: int) -> None:
    """Hold `amount_micro` of the wallet for a workload; again with the same amount does nothing. One round trip.

    As that organisation or as the system. The wallet's row stays locked until the commit, so let this come last.
    Raises InsufficientFunds (having written nothing), BatchReused when the workload already has another hold, and ValueError unless
    the amount is above 0.
    """
    if amount_micro <= 0:
        raise ValueError("a hold is above 0")
    missing_micro = await repository.hold(tx, org_id, workload_id, amount_micro)
    if missing_micro:
        raise InsufficientFunds(
            f"The wallet lacks {format_micro(missing_micro)} EUR for a hold of {format_micro(amount_micro)} EUR. "
            "Top it up with POST /api/v1/wallet/top-ups, or lower the budget.",
            reasons={"missing_micro": missing_micro},
        )


async def settle(
    tx: Tx, clock: Clock, statement: Statement, *, held_micro: int, fee_bp: int, signer: Signer, issuer: str
) -> Settlement:
    """Turn a statement into money and proof, once per workload; a repetition returns what the first one did. System role.

    Charges min(cost, hold) from the hold and releases the rest, pays providers and platform, and leaves a paid charge, payouts that
    are due, and a signed receipt. `issuer` is the public URL under which `/.well-known/did.json` names the signer's key.
    Raises BatchReused when the workload was settled with other figures.
    """
    division = divide(statement, held_micro, fee_bp)
    shares = [(share.provider_org_id, share.amount_micro) for share in division.shares]
    await repository.open_accounts(tx, "payable", [provider for provider, _ in shares])
    batch = ledger.settlement(statement.workload_id, held=held_micro > 0, fee_micro=division.fee_micro, shares=shares)
    if not await repository.post(tx, batch):
        return await _settled_before(tx, statement, division)
    charge_id = await _add_wallet_charge(tx, clock, statement, division)
    payout_ids = await _add_payouts(tx, clock, statement.workload_id, division)
    receipt_id = await _add_receipt(
        tx, clock, statement, division, charge_id=charge_id, payout_ids=payout_ids, signer=signer, issuer=issuer
    )
    return Settlement(
        workload_id=statement.workload_id, division=division, charge_id=charge_id, payout_ids=payout_ids, receipt_id=receipt_id
    )


async def _settled_before(tx: Tx, statement: Statement, division: Division) -> Settlement:
    charge = await repository.find_charge_of(tx, statement.workload_id)
    payouts = {payout.org_id: payout.payout_id for payout in await repository.find_payouts_of(tx, statement.workload_id)}
    stored = await repository.find_receipt_of(tx, statement.workload_id)
    assert stored is not None, "the postings and the receipt were committed together"
    return Settlement(
        workload_id=statement.workload_id,
        division=division,
        charge_id=charge.charge_id if charge else None,
        payout_ids=tuple(payouts[share.provider_org_id] for share in division.shares),
        receipt_id=stored.receipt_id,
    )


async def _add_wallet_charge(tx: Tx, clock: Clock, statement: Statement, division: Division) -> UUID | None:
    if division.charged_micro == 0:
        return None
    charge = Charge(
        charge_id=clock.new_id(),
        org_id=statement.org_id,
        method=Method.WALLET,
        state=ChargeState.PAID,
        amount_micro=division.charged_micro,
        currency=ledger.EUR,
        workload_id=statement.workload_id,
        created_at=clock.wall(),
        ended_at=clock.wall(),
    )
    await repository.add_charge(tx, charge, due=False)
    return charge.charge_id


async def _add_payouts(tx: Tx, clock: Clock, workload_id: UUID, division: Division) -> tuple[UUID, ...]:
    payouts = [
        Payout(
            payout_id=clock.new_id(),
            org_id=share.provider_org_id,
            workload_id=workload_id,
            state=PayoutState.DUE,
            amount_micro=share.amount_micro,
            currency=ledger.EUR,
            destination=destination_of(share.provider_org_id),
            created_at=clock.wall(),
        )
        for share in division.shares
    ]
    await repository.add_payouts(tx, payouts)
    return tuple(payout.payout_id for payout in payouts)


async def _add_receipt(
    tx: Tx,
    clock: Clock,
    statement: Statement,
    division: Division,
    *,
    charge_id: UUID | None,
    payout_ids: tuple[UUID, ...],
    signer: Signer,
    issuer: str,
) -> UUID:
    receipt_id, salt = clock.new_id(), _salt(clock)
    signed = receipt.issue(
        statement,
        division,
        receipt_id=receipt_id,
        charge_id=charge_id,
        payout_ids=payout_ids,
        salt=salt,
        signer=signer,
        issuer_url=issuer,
        issued_at=clock.wall(),
        software=f"gridbroker/{gridbroker.__version__}",
    )
    document = canonical(signed)
    _check(document)
    await repository.add_receipt(
        tx,
        StoredReceipt(
            receipt_id=receipt_id,
            org_id=statement.org_id,
            workload_id=statement.workload_id,
            statement_id=statement.statement_id,
            state=ReceiptState.SIGNED,
            document=document,
            leaf_hash=leaf_hash(document),
            salt=salt,
            created_at=clock.wall(),
        ),
    )
    return receipt_id


def _check(document: bytes) -> None:
    """Never issue what our own verifier would refuse."""
    wrong = [f"{check.name}: {check.detail}" for check in verify(document).checks if not check.ok]
    if wrong:
        raise ValueError(f"the statement does not add up: {'; '.join(wrong)}")


def _salt(clock: Clock) -> bytes:
    """128 bits out of the 148 random ones in two ids."""
    return hashlib.sha256(clock.new_id().bytes + clock.new_id().bytes).digest()[: receipt.SALT_BYTES]


async def request_top_up(tx: Tx, clock: Clock, org_id: UUID, amount_micro: int, payment_method: str) -> Charge:
    """A card charge that is due; the wallet is credited when the rail confirms it. Hint `charge.advance` after the commit."""
    charge = Charge(
        charge_id=clock.new_id(),
        org_id=org_id,
        method=Method.CARD,
        state=ChargeState.DUE,
        amount_micro=amount_micro,
        currency=ledger.EUR,
        payment_method=payment_method,
        created_at=clock.wall(),
    )
    await repository.add_charge(tx, charge, due=True)
    return charge


async def credit_wallet(tx: Tx, charge: Charge) -> None:
    """Post a paid top-up. System role."""
    await ensure_wallet(tx, charge.org_id)
    await repository.post(tx, ledger.top_up(charge.charge_id, charge.org_id, charge.amount_micro))


async def post_payout(tx: Tx, payout: Payout, state: PayoutState) -> None:
    """What the ledger does when a payout moves to `state`. System role."""
    match state:
        case PayoutState.SENT:
            await repository.post(tx, ledger.payout_sent(payout.payout_id, payout.org_id, payout.amount_micro))
        case PayoutState.PAID:
            await repository.post(tx, ledger.payout_confirmed(payout.payout_id, payout.amount_micro))
        case PayoutState.FAILED:
            await repository.post(tx, ledger.payout_returned(payout.payout_id))
        case PayoutState.DUE:
            pass


async def get_receipt(tx: Tx, receipt_id: UUID) -> StoredReceipt:
    found = await repository.find_receipt(tx, receipt_id)
    if found is None:
        raise NotFound("There is no such receipt.")
    return found


async def get_proof(tx: Tx, receipt_id: UUID) -> tuple[StoredReceipt, Tree]:
    """A receipt and the tree that it is in. Raises NotBatched while it is in none."""
    found = await get_receipt(tx, receipt_id)
    if found.tree_id is None:
        raise NotBatched("Ask again after the next batch.", headers={"Retry-After": "10"})
    [tree] = await repository.find_trees(tx, [found.tree_id])
    return found, tree


async def audit(tx: Tx) -> Sequence[str]:
    """Replay every transfer from the first and compare; what is wrong in words, nothing when the ledger is sound.

    System role, in one snapshot (`as_system(repeatable=True)`).
    """
    stored = await repository.list_accounts(tx)
    book = Book(account for account, _ in stored)
    problems: list[str] = []
    for entry in reversed(await repository.list_entries(tx)):
        try:
            book.replay(entry.transfer)
        except ledger.LedgerRefused as refused:
            problems.append(f"transfer {entry.transfer.transfer_id}: {refused}")
    problems += [
        f"{account.code} says {kept}, its transfers say {book.balance(account.code)}"
        for account, kept in stored
        if not account.derived and kept != book.balance(account.code)
    ]
    escrow = book.balance(ledger.ESCROW.code)
    if escrow.posted_micro:
        problems.append(f"{escrow.posted_micro} micro-units stay in escrow: settlements pass on all they take")
    return problems
