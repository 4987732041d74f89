"""A whole market in one process: the real application over ASGI, a real database, fake rails, a clock that is told the time."""

import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import httpx
import sqlalchemy as sa

from gridbroker.app import actions, asgi
from gridbroker.app.admin import first_admin_key
from gridbroker.app.bootstrap import Ports
from gridbroker.core.blobs import FolderBlobs
from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.core.queue import Queue, RecordingQueue
from gridbroker.core.settings import Settings
from gridbroker.grid.signal import Signal
from gridbroker.grid.sources.typical import TypicalSource
from gridbroker.settlement.rails.fake import CARD_OK, FakeAnchorRail, FakeCardRail, FakePayoutRail
from gridbroker.settlement.rails.signer_file import FileSigner
from tests.flow.support.agent import ScriptedAgent

MAX_ROUNDS = 200
ENDED = ("completed", "failed", "cancelled")
SWEEPS: tuple[actions.Action, ...] = (
    actions.refresh_grid,
    actions.advance_workloads,
    actions.advance_charges,
    actions.advance_payouts,
    actions.batch_receipts,
    actions.find_lost_nodes,
    actions.forget_answers,
)
"""What the scheduler goes through, in its order."""
WORK_TABLES = ("workloads", "charges", "payouts", "receipt_trees")

Row = dict[str, Any]
Carry = Callable[[actions.Action, list[UUID] | None], Awaitable[object]]
"""How an action is run: once by default; tests of repetition, crashes and races pass their own."""


class FewZones(TypicalSource):
    """The modelled day of the zones that these tests speak of; the other eight only cost time."""

    async def fetch(self, since: datetime, until: datetime) -> list[Signal]:
        return [signal for signal in await super().fetch(since, until) if signal.zone in ("ES", "GB", "DE")]


@dataclass(slots=True)
class World:
    ports: Ports
    clock: FakeClock
    app: Any
    clients: list[httpx.AsyncClient] = field(default_factory=list[httpx.AsyncClient])
    agents: dict[str, ScriptedAgent] = field(default_factory=dict[str, ScriptedAgent])
    repeats: int = 1
    """How often agents send each message."""

    @classmethod
    async def open(cls, database: Database, clock: FakeClock, folder: Path, queue: Queue | None = None) -> Self:
        settings = Settings(data_dir=folder, rate_limit_per_minute=1_000_000)
        ports = Ports(
            settings=settings,
            clock=clock,
            db=database,
            queue=queue or RecordingQueue(),
            blobs=FolderBlobs(settings.blob_dir),
            grid_source=FewZones(),
            card_rail=FakeCardRail(),
            payout_rail=FakePayoutRail(),
            anchor_rail=FakeAnchorRail(),
            signer=FileSigner(settings.signing_key_path),
        )
        world = cls(ports, clock, None)
        world.serve(ports)
        await actions.refresh_grid(ports, None)
        return world

    def serve(self, ports: Ports) -> None:
        """The application over these ports answers from here on; clients opened before keep the one that they had."""
        self.app = asgi.gated(asgi.create_app(ports), ports)

    async def close(self) -> None:
        for client in self.clients:
            await client.aclose()

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """Of the API, with this key; every POST carries an Idempotency-Key of its own."""

        async def add_key(request: httpx.Request) -> None:
            if request.method == "POST":
                request.headers.setdefault("Idempotency-Key", self.clock.new_id().hex)

        opened = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app),
            base_url="http://test",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            event_hooks={"request": [add_key]},
        )
        self.clients.append(opened)
        return opened

    def other_ports(self, **changes: Any) -> Ports:
        """A second process on the same database: its own lock, and whatever else is given."""
        lock = type(self.ports.routing_lock)()
        return dataclasses.replace(self.ports, routing_lock=lock, **changes)

    # --- work ----------------------------------------------------------------------------------------------------------

    async def drain(self, carry: Carry | None = None) -> None:
        """Run the actions that were hinted at, and those that these hint at, until it is quiet. Without hints, sweep."""
        queue = self.ports.queue
        if not isinstance(queue, RecordingQueue):
            await self.sweep(carry)
            return
        for _ in range(MAX_ROUNDS):
            hints = queue.take()
            if not hints:
                return
            for name, row_id in hints:
                await (carry or self._carry)(actions.BY_HINT[name], [row_id])
        raise AssertionError("hints never end")

    async def sweep(self, carry: Carry | None = None) -> None:
        """Every action on whatever is due, after all waits are over."""
        await self.make_due()
        for action in SWEEPS:
            await (carry or self._carry)(action, None)

    async def _carry(self, action: actions.Action, ids: list[UUID] | None) -> None:
        await action(self.ports, ids)

    async def make_due(self) -> None:
        """As if all waits were over. Rows that wait for news alone stay as they are, and so do claims."""
        for table in WORK_TABLES:
            await self.execute(f"update {table} set due_at = clock_timestamp() where due_at is not null and claim_until is null")

    async def outlive_claims(self) -> None:
        """As if whoever holds a claim had died a while ago."""
        for table in WORK_TABLES:
            await self.execute(
                f"update {table} set claim_until = clock_timestamp() - interval '1 second',"
                " due_at = case when due_at is not null then clock_timestamp() end where claim_until is not null"
            )

    async def advance(self, by: timedelta) -> None:
        """Let time pass. Nodes stay alive, their counters run, and the grid is looked at again."""
        for agent in self.agents.values():
            await agent.sample()
        self.clock.advance(by)
        for agent in self.agents.values():
            if agent.alive:
                await agent.sample()
                await agent.beat()
        await actions.refresh_grid(self.ports, None)

    # --- rows ----------------------------------------------------------------------------------------------------------

    async def execute(self, statement: str, **parameters: Any) -> None:
        async with self.ports.db.as_system() as tx:
            await tx.execute(sa.text(statement), parameters)

    async def rows(self, statement: str, **parameters: Any) -> list[Row]:
        async with self.ports.db.as_system() as tx:
            return [dict(row._mapping) for row in await tx.execute(sa.text(statement), parameters)]

    async def count(self, table: str, where: str = "true", **parameters: Any) -> int:
        [row] = await self.rows(f"select count(*) as n from {table} where {where}", **parameters)
        return row["n"]


@dataclass(slots=True)
class Market:
    """A world with a funded customer and providers whose nodes run agents."""

    world: World
    admin: httpx.AsyncClient
    customer: httpx.AsyncClient
    customer_id: UUID
    providers: dict[str, httpx.AsyncClient] = field(default_factory=dict[str, httpx.AsyncClient])

    @classmethod
    async def open(cls, world: World, *, nodes: Iterable[tuple[str, str]] = (), euros: str = "1000.00") -> Self:
        """`nodes` are (name, zone); each belongs to a provider of its own."""
        key = await first_admin_key(world.ports.db, world.clock)
        admin = world.client(key)
        customer_id, customer = await _organisation(world, admin, "Acme", "developer")
        market = cls(world, admin, customer, customer_id)
        for name, zone in nodes:
            await market.add_node(name, zone)
        await market.fund(euros)
        return market

    async def add_node(self, name: str, zone: str, *, gpu_count: int = 1, **changes: Any) -> ScriptedAgent:
        if name not in self.providers:
            _, self.providers[name] = await _organisation(self.world, self.admin, f"Provider {name}", "datacenter")
        agent = await ScriptedAgent.register(
            self.world, await self.token(name), name=name, zone=zone, gpu_count=gpu_count, **changes
        )
        self.world.agents[name] = agent
        await agent.beat()
        await agent.sample()
        return agent

    async def token(self, provider: str, ttl_s: int = 3600) -> str:
        made = await self.providers[provider].post("/api/v1/node-tokens", json={"ttl_s": ttl_s})
        return ok(made)["token"]

    async def fund(self, euros: str) -> None:
        body = {"amount": euros, "currency": "EUR", "payment_method": CARD_OK}
        ok(await self.customer.post("/api/v1/wallet/top-ups", json=body))
        await self.world.drain()

    async def submit(self, **changes: Any) -> UUID:
        body = {
            "name": "train",
            "command": ["train"],
            "gpu_model": "H100",
            "expected_hours": 12,
            "budget": {"amount": "50.00", "currency": "EUR"},
            "home_zone": "DE",
            "checkpoint": {"size_mib": 64},
        } | changes
        return UUID(ok(await self.customer.post("/api/v1/workloads", json=body))["id"])

    async def show(self, workload_id: UUID) -> Row:
        return ok(await self.customer.get(f"/api/v1/workloads/{workload_id}"))

    async def state(self, workload_id: UUID) -> str:
        return (await self.show(workload_id))["state"]

    async def listed(self, workload_id: UUID, what: str) -> list[Row]:
        """All of its events, decisions or placements, oldest first."""
        page = ok(
            await self.customer.get(
                f"/api/v1/workloads/{workload_id}/{what}", params={"limit": 100} if what != "placements" else None
            )
        )
        return page["data"] if what == "placements" else page["data"][::-1]

    async def ask(self, workload_id: UUID, what: str) -> httpx.Response:
        """`cancel`, `complete` or `route`."""
        return await self.customer.post(f"/api/v1/workloads/{workload_id}/{what}")

    async def placed(self, workload_id: UUID) -> tuple[ScriptedAgent, Any]:
        """The agent that is to run it, with the order."""
        [placement] = [one for one in await self.listed(workload_id, "placements") if one["state"] not in ("ended", "reserved")]
        agent = self.world.agents[placement["node_name"]]
        return agent, await agent.order(placement["id"])

    async def started(self, **changes: Any) -> tuple[UUID, ScriptedAgent, Any]:
        """Submitted, placed and running."""
        workload_id = await self.submit(**changes)
        await self.world.drain()
        agent, order = await self.placed(workload_id)
        await agent.run(order)
        await self.world.drain()
        assert await self.state(workload_id) == "running"
        return workload_id, agent, order

    async def settle_all(self, carry: Carry | None = None) -> None:
        """Sweep until money and proof of every ended workload are done."""
        for _ in range(MAX_ROUNDS):
            await self.world.sweep(carry)
            busy = await self.world.count("payouts", "state not in ('paid', 'failed')")
            if not busy and not await self.world.count("receipts", "state <> 'anchored'"):
                return
        raise AssertionError("payouts or receipts never finish")


async def _organisation(world: World, admin: httpx.AsyncClient, name: str, kind: str) -> tuple[UUID, httpx.AsyncClient]:
    """An organisation, and a client with a key of its main role."""
    made = ok(await admin.post("/api/v1/organisations", json={"name": name, "kind": kind}))
    key = ok(await admin.post("/api/v1/keys", json={"name": "main", "role": kind, "org_id": made["id"]}))
    return UUID(made["id"]), world.client(key["secret"])


def ok(response: httpx.Response) -> Any:
    assert response.is_success, f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
    return json.loads(response.content) if response.content else None


def refused(response: httpx.Response, status: int, code: str) -> Row:
    """The problem document of a request that was to be refused."""
    assert response.headers.get("content-type") == "application/problem+json", f"{response.status_code} {response.text}"
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    return body
