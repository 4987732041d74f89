"""The routes of settlement over HTTP, with a caller of our choice."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from litestar import Litestar, Request
from litestar.di import Provide

from gridbroker.app import problems
from gridbroker.core.queue import RecordingQueue
from gridbroker.core.settings import Settings
from gridbroker.identity.guards import caller_of
from gridbroker.identity.role import Caller, Role, Scope
from gridbroker.settlement import service, tasks
from gridbroker.settlement.data_integrity import did_key
from gridbroker.settlement.rails.fake import FakeAnchorRail, FakeCardRail
from gridbroker.settlement.routes import ROUTES
from gridbroker.settlement.verify import verify
from tests.integration.settlement.conftest import ISSUER
from tests.unit.settlement.build import CUSTOMER, FIRST, SECOND, statement

TOP_UP = {"amount": "25.00", "currency": "EUR", "payment_method": "pm_card_visa"}


class _As:
    """Stands in for the gate: the caller is named by two headers."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope.get("headers", [])}
        if "x-org" in headers:
            scope["user"] = Caller(UUID(headers["x-org"]), UUID(int=1), Role(headers["x-role"]), frozenset(Scope))
        await self.app(scope, receive, send)


def _constant(value):
    return Provide(lambda: value, sync_to_thread=False)


@pytest.fixture
def queue() -> RecordingQueue:
    return RecordingQueue()


@pytest.fixture
async def client(database, clock, queue, signer) -> AsyncIterator[httpx.AsyncClient]:
    values = {"db": database, "clock": clock, "queue": queue, "signer": signer, "settings": Settings(data_dir=Path("/nowhere"))}
    app = Litestar(
        route_handlers=ROUTES,
        dependencies={name: _constant(value) for name, value in values.items()}
        | {"caller": Provide(caller_of_request, sync_to_thread=False)},
        middleware=[_As],
        exception_handlers={Exception: problems.handle},
        logging_config=None,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as client:
        yield client


def caller_of_request(request: Request) -> Caller:
    return caller_of(request)


def _as(org_id: UUID = CUSTOMER, role: str = "developer") -> dict[str, str]:
    return {"x-org": str(org_id), "x-role": role}


async def _settled(database, clock, signer, fund) -> service.Settlement:
    await fund(CUSTOMER, 10_000_000)
    async with database.as_org(CUSTOMER) as tx:
        await service.place_hold(tx, CUSTOMER, statement().workload_id, 2_000_000)
    async with database.as_system() as tx:
        return await service.settle(tx, clock, statement(), held_micro=2_000_000, fee_bp=1500, signer=signer, issuer=ISSUER)


async def test_a_top_up_is_created_hinted_and_paid(client, database, clock, queue):
    answer = await client.post("/api/v1/wallet/top-ups", json=TOP_UP, headers=_as() | {"Idempotency-Key": "k0"})
    assert answer.status_code == 201
    created = answer.json()
    assert (created["state"], created["amount"], created["method"]) == ("due", "25.00", "card")
    assert queue.take() == [("charge.advance", UUID(created["id"]))]
    await tasks.advance_charge(database, clock, queue, FakeCardRail(), [UUID(created["id"])])
    wallet = (await client.get("/api/v1/wallet", headers=_as())).json()
    assert wallet == {"available": "25.00", "held": "0.00", "posted": "25.00", "currency": "EUR"}
    listed = (await client.get("/api/v1/charges", headers=_as())).json()["data"]
    assert [charge["state"] for charge in listed] == ["paid"]


async def test_the_same_idempotency_key_charges_once(client, queue):
    headers = _as() | {"Idempotency-Key": "k1"}
    first, second = [await client.post("/api/v1/wallet/top-ups", json=TOP_UP, headers=headers) for _ in range(2)]
    assert first.json() == second.json()
    assert len(queue.take()) == 1
    assert len((await client.get("/api/v1/charges", headers=_as())).json()["data"]) == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        *(
            ({"amount": amount}, "/amount")
            for amount in ("0", "0.00", "-1", "1e3", "NaN", "", " 1", "1.001", "+1", "9999999999", "1000000.01", "٣")
        ),
        *(({"currency": currency}, "/currency") for currency in ("USD", "eur", "")),
        *(({"payment_method": method}, "/payment_method") for method in ("", "a b", "x" * 101)),
    ],
)
async def test_a_bad_top_up_names_the_field_and_writes_nothing(client, queue, change, pointer):
    answer = await client.post("/api/v1/wallet/top-ups", json=TOP_UP | change, headers=_as())
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert (await client.get("/api/v1/charges", headers=_as())).json()["data"] == []
    assert queue.take() == []


@pytest.mark.parametrize("body", [TOP_UP | {"amount": 25}, TOP_UP | {"extra": 1}, {"amount": "1"}])
async def test_a_body_of_another_shape_is_refused(client, body):
    answer = await client.post("/api/v1/wallet/top-ups", json=body, headers=_as())
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_everyone_sees_their_own_money(client, database, clock, signer, fund):
    settlement = await _settled(database, clock, signer, fund)
    workload = str(settlement.workload_id)
    entries = (await client.get("/api/v1/ledger/entries", params={"reference": workload}, headers=_as())).json()["data"]
    assert [entry["purpose"] for entry in entries] == ["capture", "hold"]
    payouts = (await client.get("/api/v1/payouts", headers=_as(FIRST, "datacenter"))).json()["data"]
    assert [payout["id"] for payout in payouts] == [str(settlement.payout_ids[0])]
    earned = (await client.get("/api/v1/ledger/entries", headers=_as(SECOND, "gamer"))).json()["data"]
    assert [(entry["purpose"], entry["amount"]) for entry in earned] == [("share", payouts_amount(settlement, 1))]
    assert (await client.get("/api/v1/receipts", headers=_as(uuid4()))).json()["data"] == []


def payouts_amount(settlement: service.Settlement, number: int) -> str:
    return f"{settlement.division.shares[number].amount_micro / 1e6:.6f}".rstrip("0")


async def test_entries_are_paged_without_gaps(client, fund):
    for _ in range(5):
        await fund(CUSTOMER, 1_000_000)
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/api/v1/ledger/entries", params=params, headers=_as())).json()
        seen += [entry["seq"] for entry in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert len(seen) == 5
    assert seen == sorted(set(seen), reverse=True)


async def test_a_receipt_is_served_as_signed_and_proven(client, database, clock, signer, fund):
    settlement = await _settled(database, clock, signer, fund)
    path = f"/api/v1/receipts/{settlement.receipt_id}"
    early = await client.get(f"{path}/proof", headers=_as())
    assert (early.status_code, early.json()["code"]) == (409, "receipt_not_batched")
    await tasks.batch_receipts(database, clock, FakeAnchorRail())
    receipt, proof = await client.get(path, headers=_as()), (await client.get(f"{path}/proof", headers=_as())).json()
    did = (await client.get("/.well-known/did.json")).json()
    assert receipt.headers["content-type"].startswith("application/vc")
    assert verify(receipt.content, proof=proof, expected_key=did["assertionMethod"][0]).ok
    assert proof["anchor_id"]
    summary = (await client.get("/api/v1/receipts", headers=_as())).json()["data"]
    assert [(one["state"], one["workload_id"]) for one in summary] == [("anchored", str(settlement.workload_id))]


async def test_the_key_document_names_server_and_key(client, signer):
    answer = await client.get("/.well-known/did.json")
    assert answer.headers["content-type"].startswith("application/did+json")
    document = json.loads(answer.content)
    assert document["id"] == "did:web:127.0.0.1%3A8000"
    assert document["alsoKnownAs"] == [did_key(signer.public_key)]


async def test_another_organisations_receipt_does_not_exist(client, database, clock, signer, fund):
    settlement = await _settled(database, clock, signer, fund)
    for path in ("", "/proof"):
        answer = await client.get(f"/api/v1/receipts/{settlement.receipt_id}{path}", headers=_as(FIRST))
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("path", "role", "allowed"),
    [
        ("/api/v1/wallet", "finance", True),
        ("/api/v1/wallet", "datacenter", False),
        ("/api/v1/payouts", "recycler", True),
        ("/api/v1/payouts", "developer", False),
        ("/api/v1/receipts", "node", False),
        ("/api/v1/ledger/entries", "admin", True),
        ("/api/v1/ledger/entries", "node", False),
    ],
)
async def test_roles(client, path, role, allowed):
    answer = await client.get(path, headers=_as(role=role))
    assert answer.status_code == (200 if allowed else 403)
    assert (await client.get(path)).status_code == 401
