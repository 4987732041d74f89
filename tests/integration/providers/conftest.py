"""Providers on a real database: organisations, nodes, and an application of this context's routes alone."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar import Litestar, Request
from litestar.di import Provide

from gridbroker.app import problems
from gridbroker.app.gate import Gate
from gridbroker.app.rate_limit import RateLimiter
from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.core.queue import RecordingQueue
from gridbroker.core.settings import Settings
from gridbroker.identity import service as identity
from gridbroker.identity.guards import caller_of
from gridbroker.identity.role import OrganisationKind, Role
from gridbroker.node_agent.protocol import GpuStatus, Heartbeat, NodeCredentials, NodeRegistration
from gridbroker.providers import routes, service
from gridbroker.providers.backends.bell import OrdersBell

ZONES = frozenset({"FR", "DE"})
LIST_PRICES = {"RTX-4090": 400_000}


@dataclass(frozen=True)
class World:
    """Short ways to do what most tests begin with."""

    db: Database
    clock: FakeClock

    async def organisation(self, name: str = "Solar", kind: OrganisationKind = OrganisationKind.DATACENTER) -> UUID:
        async with self.db.as_system() as tx:
            return (await identity.create_organisation(tx, self.clock, name=name, kind=kind)).org_id

    async def key(self, org_id: UUID, role: Role) -> str:
        async with self.db.as_system() as tx:
            return (await identity.create_key(tx, self.clock, org_id=org_id, role=role, name="key")).secret

    async def token(self, org_id: UUID, ttl_s: int = 3600) -> str:
        async with self.db.as_org(org_id) as tx:
            return (await service.mint_token(tx, self.clock, org_id, ttl_s=ttl_s))[0]

    def registration(self, token: str, **changes: Any) -> NodeRegistration:
        given = NodeRegistration(token=token, name="n1", zone="FR", gpu_model="H100", gpu_count=2, price_eur_per_gpu_hour="2.40")
        return dataclasses.replace(given, **changes)

    async def register(self, token: str, **changes: Any) -> NodeCredentials:
        async with self.db.as_system() as tx:
            return await service.register(
                tx,
                self.clock,
                self.registration(token, **changes),
                known_zones=ZONES,
                list_prices=LIST_PRICES,
                heartbeat_interval_s=15.0,
            )

    async def node(self, org_id: UUID, **changes: Any) -> UUID:
        return UUID((await self.register(await self.token(org_id), **changes)).node_id)

    def beat(self, gpu_count: int = 2, **changes: Any) -> Heartbeat:
        gpus = tuple(GpuStatus(index=index, utilisation=0.5, power_w=300.0) for index in range(gpu_count))
        return dataclasses.replace(Heartbeat(sent_at=self.clock.wall().isoformat(), gpus=gpus), **changes)

    async def heartbeat(self, node_id: UUID, **changes: Any) -> None:
        async with self.db.as_system() as tx:
            await service.heartbeat(tx, self.clock, node_id, self.beat(**changes))

    async def lease(self, node_id: UUID, org_id: UUID, *gpu_indices: int, placement_id: UUID | None = None) -> UUID:
        placement_id = placement_id or self.clock.new_id()
        async with self.db.as_system() as tx:
            await service.open_lease(
                tx,
                lease_ids=[self.clock.new_id() for _ in gpu_indices],
                node_id=node_id,
                org_id=org_id,
                gpu_indices=gpu_indices,
                placement_id=placement_id,
                epoch=1,
                now=self.clock.now(),
            )
        return placement_id


@pytest.fixture
def world(database: Database, clock: FakeClock) -> World:
    return World(database, clock)


@pytest.fixture
def bell() -> OrdersBell:
    """Not started: whoever waits on it polls."""
    return OrdersBell(poll_s=0.05)


def constant(value: Any) -> Callable[[], Any]:
    def provide() -> Any:
        return value

    return provide


def caller(request: Request[Any, Any, Any]) -> Any:
    return caller_of(request)


Client = Callable[[str | None], httpx.AsyncClient]


@pytest.fixture
async def client(database: Database, clock: FakeClock, bell: OrdersBell, tmp_path: Path) -> AsyncIterator[Client]:
    """Clients of the routes, each with the key it is given."""
    values: dict[str, Any] = {
        "db": database,
        "clock": clock,
        "settings": Settings(data_dir=tmp_path),
        "known_zones": ZONES,
        "list_prices": LIST_PRICES,
        "bell": bell,
        "queue": RecordingQueue(),
    }
    provided = {name: Provide(constant(value), sync_to_thread=False) for name, value in values.items()}
    app = Litestar(
        route_handlers=routes.ROUTES,
        dependencies={**provided, "caller": Provide(caller, sync_to_thread=False)},
        middleware=[lambda app: Gate(app, db=database, clock=clock, limiter=RateLimiter(10_000))],
        exception_handlers={Exception: problems.handle},
        openapi_config=None,
        logging_config=None,
    )
    opened: list[httpx.AsyncClient] = []

    def open_client(key: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        opened.append(httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers))
        return opened[-1]

    yield open_client
    for one in opened:
        await one.aclose()
