"""The routes alone, on a real database: who calls, which the gate of the whole application decides, is given by the test."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.types import ASGIApp, Receive, Scope, Send

from gridbroker.app import problems
from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.identity.role import Caller, OrganisationKind, Role
from gridbroker.identity.role import Scope as KeyScope
from gridbroker.identity.service import create_organisation
from gridbroker.metering.closing import StatementFacts
from gridbroker.metering.routes import ROUTES
from gridbroker.metering.service import close_statement
from gridbroker.node_agent.protocol import NodeRegistration
from gridbroker.pricing.rate_card import list_prices
from gridbroker.providers.service import mint_token, register

ALL = frozenset(KeyScope)


class As:
    """Whoever the next request comes from."""

    caller: Caller


@pytest.fixture
async def client(database: Database, clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    def sign_in(app: ASGIApp) -> ASGIApp:
        async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
            scope["user"] = As.caller  # type: ignore[typeddict-item]
            await app(scope, receive, send)

        return middleware

    def given(value: Any) -> Provide:
        return Provide(lambda: value, sync_to_thread=False)

    app = Litestar(
        route_handlers=ROUTES,
        middleware=[sign_in],
        dependencies={"caller": Provide(lambda: As.caller, sync_to_thread=False), "db": given(database), "clock": given(clock)},
        exception_handlers={Exception: problems.handle},
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def become(database: Database, clock: FakeClock, kind: OrganisationKind, role: Role, node_id: UUID | None = None) -> UUID:
    async with database.as_system() as tx:
        org_id = (await create_organisation(tx, clock, name=str(uuid4()), kind=kind)).org_id
    As.caller = Caller(org_id, uuid4(), role, ALL, node_id)
    return org_id


async def a_node(database: Database, clock: FakeClock) -> UUID:
    """A node with two GPUs, whose own key is then the caller's."""
    org_id = await become(database, clock, OrganisationKind.DATACENTER, Role.DATACENTER)
    async with database.as_system() as tx:
        token, _ = await mint_token(tx, clock, org_id)
        registration = NodeRegistration(token=token, name="n", zone="FR", gpu_model="H100", gpu_count=2)
        registered = await register(
            tx, clock, registration, known_zones=frozenset({"FR"}), list_prices=list_prices(), heartbeat_interval_s=5
        )
    node_id = UUID(registered.node_id)
    As.caller = Caller(org_id, uuid4(), Role.NODE, ALL, node_id)
    return node_id


def samples(clock: FakeClock, **changes: object) -> dict[str, Any]:
    good = {
        "seq": 1,
        "gpu_index": 0,
        "at": clock.now().isoformat(),
        "energy_mj": 5,
        "power_w": 9.5,
        "utilisation": 1,
        "kind": "measured",
    }
    return {"boot_id": "b", "samples": [good, good | {"seq": 2} | changes]}


async def test_a_node_sends_samples_again_and_again(client: httpx.AsyncClient, database: Database, clock: FakeClock):
    await a_node(database, clock)
    for expected in ({"accepted": 2, "duplicates": 0}, {"accepted": 0, "duplicates": 2}):
        answer = await client.post("/api/v1/nodes/self/samples", json=samples(clock))
        assert (answer.status_code, answer.json()) == (200, expected)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"gpu_index": 2}, "/samples/1/gpu_index"),
        ({"power_w": 1501}, "/samples/1/power_w"),
        ({"at": "2026-03-20T13:00:00Z"}, "/samples/1/at"),
    ],
)
async def test_an_impossible_sample_is_named_and_nothing_kept(
    client: httpx.AsyncClient, database: Database, clock: FakeClock, changes: dict[str, object], pointer: str
):
    await a_node(database, clock)
    answer = await client.post("/api/v1/nodes/self/samples", json=samples(clock, **changes))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_samples")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert (await client.post("/api/v1/nodes/self/samples", json=samples(clock))).json() == {"accepted": 2, "duplicates": 0}


async def test_only_nodes_send_samples(client: httpx.AsyncClient, database: Database, clock: FakeClock):
    await become(database, clock, OrganisationKind.DATACENTER, Role.DATACENTER)
    assert (await client.post("/api/v1/nodes/self/samples", json=samples(clock))).status_code == 403


async def close(database: Database, clock: FakeClock, org_id: UUID) -> UUID:
    facts = StatementFacts(
        workload_id=clock.new_id(),
        org_id=org_id,
        outcome="cancelled",
        submitted_at=clock.now(),
        home_zone="DE",
        feasible=(),
        placements=(),
        moves=0,
        clock_factor=1,
    )
    async with database.as_system() as tx:
        await close_statement(tx, clock.now(), facts)
    clock.advance(timedelta(seconds=1))
    return facts.workload_id


async def test_statements_are_listed_newest_first_page_by_page(client: httpx.AsyncClient, database: Database, clock: FakeClock):
    org_id = await become(database, clock, OrganisationKind.DEVELOPER, Role.FINANCE)
    workloads = [str(await close(database, clock, org_id)) for _ in range(3)]
    first = (await client.get("/api/v1/statements", params={"limit": 2})).json()
    rest = (await client.get("/api/v1/statements", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [one["workload_id"] for one in first["data"] + rest["data"]] == workloads[::-1]
    assert rest["next_cursor"] is None
    assert first["data"][0]["outcome"] == "cancelled"
    assert (await client.get("/api/v1/statements", params={"cursor": "x"})).json()["code"] == "bad_cursor"


async def test_a_statement_shows_to_its_organisation_alone(client: httpx.AsyncClient, database: Database, clock: FakeClock):
    org_id = await become(database, clock, OrganisationKind.DEVELOPER, Role.DEVELOPER)
    workload_id = await close(database, clock, org_id)
    shown = (await client.get(f"/api/v1/statements/{workload_id}")).json()
    assert (shown["workload_id"], shown["energy_kind"], len(shown["counterfactuals"])) == (str(workload_id), "none", 3)
    await become(database, clock, OrganisationKind.DEVELOPER, Role.DEVELOPER)
    answer = await client.get(f"/api/v1/statements/{workload_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await client.get("/api/v1/statements")).json()["data"] == []
    As.caller = replace(As.caller, role=Role.GAMER)
    assert (await client.get("/api/v1/statements")).status_code == 403
