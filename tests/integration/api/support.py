"""The whole API in this process: real routes, gate and database; fake time, rails and queue; one workload's life over HTTP."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
import sqlalchemy as sa
from litestar import Litestar
from litestar.types import ASGIApp

from gridbroker.app import actions, asgi
from gridbroker.app.bootstrap import Ports
from gridbroker.app.tables import metadata
from gridbroker.core.blobs import FolderBlobs
from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.core.queue import RecordingQueue
from gridbroker.core.settings import Settings
from gridbroker.grid.sources.typical import TypicalSource
from gridbroker.identity import service as identity
from gridbroker.identity.role import OrganisationKind, Role, Scope
from gridbroker.node_agent.protocol import CheckpointFile, manifest_bytes
from gridbroker.settlement.rails.fake import FakeAnchorRail, FakeCardRail, FakePayoutRail
from gridbroker.settlement.rails.signer_file import FileSigner

KIND_OF_ROLE = {
    Role.DEVELOPER: OrganisationKind.DEVELOPER,
    Role.DATACENTER: OrganisationKind.DATACENTER,
    Role.GAMER: OrganisationKind.GAMER,
    Role.RECYCLER: OrganisationKind.RECYCLER,
    Role.FINANCE: OrganisationKind.DEVELOPER,
    Role.ADMIN: OrganisationKind.PLATFORM,
    Role.NODE: OrganisationKind.DATACENTER,
}
WORKLOAD: dict[str, Any] = {
    "name": "train",
    "command": ["train"],
    "budget": {"amount": "5.00", "currency": "EUR"},
    "expected_hours": 0.5,
}
BLOB = b"weights"
BLOB_SHA256 = hashlib.sha256(BLOB).hexdigest()
RATE_LIMIT = 1_000_000


@dataclass(frozen=True)
class Api:
    ports: Ports
    clock: FakeClock
    queue: RecordingQueue
    litestar: Litestar
    app: ASGIApp

    @classmethod
    def build(cls, db: Database, clock: FakeClock, folder: Path, **settings: Any) -> Self:
        queue = RecordingQueue()
        configured = Settings(data_dir=folder, **({"rate_limit_per_minute": RATE_LIMIT} | settings))
        ports = Ports(
            settings=configured,
            clock=clock,
            db=db,
            queue=queue,
            blobs=FolderBlobs(configured.blob_dir),
            grid_source=TypicalSource(),
            card_rail=FakeCardRail(),
            payout_rail=FakePayoutRail(),
            anchor_rail=FakeAnchorRail(),
            signer=FileSigner(configured.signing_key_path),
        )
        litestar = asgi.create_app(ports)
        return cls(ports, clock, queue, litestar, asgi.gated(litestar, ports))

    @property
    def db(self) -> Database:
        return self.ports.db

    def client(self, key: str | None = None, *, address: str = "127.0.0.1") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(self.app, client=(address, 40000), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    async def organisation(self, kind: OrganisationKind = OrganisationKind.DEVELOPER) -> UUID:
        async with self.db.as_system() as tx:
            return (await identity.create_organisation(tx, self.clock, name=f"{kind} {uuid4()}", kind=kind)).org_id

    async def key(
        self,
        org_id: UUID,
        role: Role,
        scopes: Sequence[Scope] = tuple(Scope),
        *,
        days: float | None = None,
        node: UUID | None = None,
    ) -> str:
        expires_at = self.clock.wall() + timedelta(days=days) if days is not None else None
        async with self.db.as_system() as tx:
            created = await identity.create_key(
                tx, self.clock, org_id=org_id, role=role, name="key", scopes=tuple(scopes), expires_at=expires_at, node_id=node
            )
        return created.secret

    async def developer(self, euros: str | None = "50.00") -> "Customer":
        """An organisation with a developer's key and, unless told otherwise, money."""
        org_id = await self.organisation()
        customer = Customer(org_id, self.client(await self.key(org_id, Role.DEVELOPER)))
        if euros is not None:
            body = {"amount": euros, "currency": "EUR", "payment_method": "pm_card_visa"}
            (await post(customer.http, "/api/v1/wallet/top-ups", body)).raise_for_status()
            await self.drain()
        return customer

    async def provider(self, kind: OrganisationKind = OrganisationKind.DATACENTER) -> "Provider":
        """An organisation with a provider's key and one healthy node with its own."""
        org_id = await self.organisation(kind)
        people = self.client(await self.key(org_id, Role(kind)))
        token = (await post(people, "/api/v1/node-tokens", {})).raise_for_status().json()["token"]
        registration = {"token": token, "name": "n1", "zone": "FR", "gpu_model": "H100", "gpu_count": 2}
        credentials = (await self.client().post("/api/v1/nodes", json=registration)).raise_for_status().json()
        agent = self.client(credentials["key"])
        gpus = [{"index": index, "utilisation": 0.5, "power_w": 300.0} for index in range(2)]
        beat = {"sent_at": self.clock.wall().isoformat(), "gpus": gpus}
        (await agent.post("/api/v1/nodes/self/heartbeat", json=beat)).raise_for_status()
        return Provider(org_id, people, agent, UUID(credentials["node_id"]))

    async def drain(self) -> None:
        """Act on every hint, and on what those hint at, as the worker would."""
        while taken := self.queue.take():
            for name, row_id in taken:
                await actions.BY_HINT[name](self.ports, [row_id])

    async def refresh_grid(self) -> None:
        await actions.refresh_grid(self.ports, None)

    async def submit(self, customer: "Customer", **changes: Any) -> UUID:
        answer = await post(customer.http, "/api/v1/workloads", WORKLOAD | changes)
        assert answer.status_code == 201, answer.text
        await self.drain()
        return UUID(answer.json()["id"])

    async def run_to_receipt(self, customer: "Customer", provider: "Provider") -> "Life":
        """Submit a workload, let the node run it with one log line and one checkpoint, settle it, prove it."""
        workload_id = await self.submit(customer)
        orders = (await provider.agent.get("/api/v1/nodes/self/orders")).raise_for_status().json()["orders"]
        order = next(one for one in orders if one["workload_id"] == str(workload_id))
        held = f"/api/v1/nodes/self/placements/{order['placement_id']}"
        agent, epoch = provider.agent, order["epoch"]

        async def report(seq: int, **fields: Any) -> None:
            body = {"epoch": epoch, "seq": seq, "at": self.clock.now().isoformat(), **fields}
            (await agent.post(f"{held}/reports", json=body)).raise_for_status()
            await self.drain()

        async def sample(seq: int, energy_mj: int) -> None:
            reading = {"seq": seq, "gpu_index": order["gpu_indices"][0], "at": self.clock.now().isoformat(), "energy_mj": energy_mj}
            body = {"boot_id": "boot", "samples": [reading | {"power_w": 300.0, "utilisation": 0.5, "kind": "measured"}]}
            (await agent.post("/api/v1/nodes/self/samples", json=body)).raise_for_status()

        await report(1, kind="running")
        await sample(1, 0)
        self.clock.advance(timedelta(minutes=10))
        line = {"seq": 1, "at": self.clock.now().isoformat(), "stream": "stdout", "text": "step 10"}
        (await agent.post(f"{held}/logs", json={"epoch": epoch, "lines": [line]})).raise_for_status()
        (await agent.put(f"{held}/blobs/{BLOB_SHA256}", content=BLOB)).raise_for_status()
        commit = checkpoint_body(epoch, 10)
        (await agent.post(f"{held}/checkpoints", json=commit)).raise_for_status()
        await sample(2, 180_000_000)
        await report(2, kind="exited", exit_code=0, step=10, total_steps=10)
        await actions.batch_receipts(self.ports, None)
        shown = (await customer.http.get(f"/api/v1/workloads/{workload_id}")).raise_for_status().json()
        assert shown["state"] == "completed", shown
        receipts = (await customer.http.get("/api/v1/receipts")).raise_for_status().json()["data"]
        decisions = (await customer.http.get(f"/api/v1/workloads/{workload_id}/decisions")).raise_for_status().json()["data"]
        return Life(workload_id, UUID(order["placement_id"]), UUID(receipts[0]["id"]), UUID(decisions[0]["id"]), epoch)

    async def row_counts(self) -> dict[str, int]:
        """Rows of every table, as the system role sees them."""
        counts = ", ".join(f"(select count(*) from {name}) as {name}" for name in TABLES)
        async with self.db.as_system() as tx:
            return dict((await tx.execute(sa.text(f"select {counts}"))).one()._mapping)


TABLES = tuple(metadata.tables)


@dataclass(frozen=True)
class Customer:
    org_id: UUID
    http: httpx.AsyncClient


@dataclass(frozen=True)
class Provider:
    org_id: UUID
    http: httpx.AsyncClient
    agent: httpx.AsyncClient
    node_id: UUID


@dataclass(frozen=True)
class Life:
    """Ids that one finished workload left behind."""

    workload_id: UUID
    placement_id: UUID
    receipt_id: UUID
    decision_id: UUID
    epoch: int


def checkpoint_body(epoch: int, step: int) -> dict[str, Any]:
    file = CheckpointFile(path="weights.bin", bytes=len(BLOB), sha256=BLOB_SHA256)
    manifest = hashlib.sha256(manifest_bytes((file,))).hexdigest()
    return {"epoch": epoch, "step": step, "files": [dataclasses.asdict(file)], "manifest_sha256": manifest}


async def post(client: httpx.AsyncClient, path: str, body: object, key: str | None = None) -> httpx.Response:
    """A POST as clients should send it: with an Idempotency-Key."""
    return await client.post(path, json=body, headers={"Idempotency-Key": key or str(uuid4())})


def check_problem(answer: httpx.Response, status: int, code: str, *pointers: str) -> dict[str, Any]:
    """That an answer is the problem document it should be; returns it."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.headers["content-type"]
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code, problem
    assert problem["type"] == f"https://gridbroker.dev/problems/{code}"
    assert problem["title"] and problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert len(problem["request_id"]) >= 8
    if pointers:
        assert [error["pointer"] for error in problem["errors"]] == list(pointers), problem
    return problem
