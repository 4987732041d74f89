"""The routes of nodes over HTTP: what agents and providers may do, and what bad input gets."""

import asyncio
import dataclasses
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
import sqlalchemy as sa

from gridbroker.identity.role import OrganisationKind, Role
from gridbroker.node_agent.protocol import Action, HeartbeatAck, NodeCredentials, Order, Orders
from gridbroker.providers.backends.agent import AgentBackend
from gridbroker.providers.backends.base import NodeOrder
from gridbroker.providers.models import node_tokens, nodes


def problem(response, status: int, code: str) -> dict:
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    return body


@pytest.fixture
async def provider(world, client):
    org_id = await world.organisation()
    return org_id, client(await world.key(org_id, Role.DATACENTER))


@pytest.fixture
async def joined(world, client, provider):
    """(node, organisation, provider's client, agent's client)"""
    org_id, people = provider
    credentials = await world.register(await world.token(org_id))
    return UUID(credentials.node_id), org_id, people, client(credentials.key)


def registration(world, token: str, **changes: object) -> dict:
    return msgspec.to_builtins(world.registration(token)) | changes


async def test_from_token_to_a_healthy_node(world, client, provider):
    _, people = provider
    made = await people.post("/api/v1/node-tokens", json={"ttl_s": 600})
    assert made.status_code == 201
    answer = await client(None).post("/api/v1/nodes", json=registration(world, made.json()["token"]))
    assert answer.status_code == 201
    credentials = msgspec.convert(answer.json(), NodeCredentials)
    assert credentials.heartbeat_interval_s == 15

    agent = client(credentials.key)
    beat = await agent.post("/api/v1/nodes/self/heartbeat", json=msgspec.to_builtins(world.beat()))
    assert beat.status_code == 200
    assert msgspec.convert(beat.json(), HeartbeatAck).clock_skew_s == 0

    shown = (await people.get(f"/api/v1/nodes/{credentials.node_id}")).json()
    assert (shown["health"], shown["tier"], shown["free_gpus"]) == ("healthy", "datacenter", [0, 1])
    assert shown["price_eur_per_gpu_hour"] == "2.40"
    assert {check["kind"] for check in shown["checks"]} == {"heartbeat", "clock", "gpus", "temperature", "spool"}
    assert "token" not in shown


async def test_a_token_is_shown_once(provider, world):
    _, people = provider
    headers = {"Idempotency-Key": "k1"}
    first = (await people.post("/api/v1/node-tokens", json={}, headers=headers)).json()
    again = (await people.post("/api/v1/node-tokens", json={}, headers=headers)).json()
    assert first["token"]
    assert again == first | {"token": None}
    async with world.db.as_system() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(node_tokens)) == 1


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"gpu_model": "H10000"}, "unknown_gpu_model", "/gpu_model"),
        ({"zone": "XX"}, "unknown_zone", "/zone"),
        ({"gpu_count": 0}, "invalid_registration", "/gpu_count"),
        ({"gpu_count": -3}, "invalid_registration", "/gpu_count"),
        ({"gpu_count": "two"}, "invalid", "/gpu_count"),
        ({"price_eur_per_gpu_hour": "-1"}, "invalid_registration", "/price_eur_per_gpu_hour"),
        ({"price_eur_per_gpu_hour": 2.4}, "invalid", "/price_eur_per_gpu_hour"),
        ({"pue": 0.5}, "invalid_registration", "/pue"),
        ({"energy_kind": "guessed"}, "invalid", "/energy_kind"),
        ({"name": "n" * 201}, "invalid", "/name"),
        ({"sent_at": "2026-03-20T13:00:00Z"}, "clock_skew", "/sent_at"),
        ({"prise_eur": "1"}, "invalid", None),
    ],
)
async def test_bad_registrations_write_nothing_and_leave_the_token_good(world, client, changes, code, pointer):
    token = await world.token(await world.organisation())
    refused = problem(await client(None).post("/api/v1/nodes", json=registration(world, token, **changes)), 422, code)
    if pointer:
        assert refused["errors"][0]["pointer"] == pointer
    async with world.db.as_system() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(nodes)) == 0
    assert (await client(None).post("/api/v1/nodes", json=registration(world, token))).status_code == 201


async def test_tokens_that_admit_nobody(world, client, provider):
    org_id, _ = provider
    used, expired = await world.token(org_id), await world.token(org_id, ttl_s=60)
    anybody = client(None)
    assert (await anybody.post("/api/v1/nodes", json=registration(world, used))).status_code == 201
    problem(await anybody.post("/api/v1/nodes", json=registration(world, used, name="n2")), 409, "node_token_used")
    world.clock.advance(timedelta(seconds=60))
    problem(await anybody.post("/api/v1/nodes", json=registration(world, expired)), 401, "node_token_expired")
    problem(await anybody.post("/api/v1/nodes", json=registration(world, "nonsense")), 401, "node_token_unknown")


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"sent_at": "2026-03-20T13:00:00Z"}, "clock_skew", "/sent_at"),
        ({"sent_at": "yesterday"}, "invalid", "/sent_at"),
        ({"sent_at": 5}, "invalid", "/sent_at"),
        ({"spool_backlog": -1}, "invalid", "/spool_backlog"),
        ({"gpus": [{"index": 0, "utilisation": 2, "power_w": 1}]}, "invalid", "/gpus/0/utilisation"),
        ({"gpus": [{"index": "x", "utilisation": 0, "power_w": 1}]}, "invalid", None),
    ],
)
async def test_bad_heartbeats_write_nothing(world, joined, changes, code, pointer):
    node_id, _, people, agent = joined
    body = msgspec.to_builtins(world.beat()) | changes
    refused = problem(await agent.post("/api/v1/nodes/self/heartbeat", json=body), 422, code)
    if pointer:
        assert refused["errors"][0]["pointer"] == pointer
    assert (await people.get(f"/api/v1/nodes/{node_id}")).json()["health"] == "pending"


async def test_orders_answer_at_once_when_there_is_news_and_wait_when_there_is_none(world, joined):
    node_id, org_id, _, agent = joined
    url = "/api/v1/nodes/self/orders"
    assert msgspec.convert((await agent.get(url)).json(), Orders) == Orders(version=0, orders=())
    assert (await agent.get(url, params={"version": 0, "wait_s": 0.1})).json()["version"] == 0

    waiting = asyncio.create_task(agent.get(url, params={"version": 0, "wait_s": 20}))
    await asyncio.sleep(0)
    order = Order(placement_id=str(world.clock.new_id()), epoch=1, action=Action.RUN, workload_id="w", attempt=1, command=("true",))
    await AgentBackend(world.db).apply(NodeOrder(node_id=node_id, org_id=org_id, order=order))
    async with asyncio.timeout(5):
        assert msgspec.convert((await waiting).json(), Orders) == Orders(version=1, orders=(order,))
    problem(await agent.get(url, params={"wait_s": 31}), 422, "invalid")


async def test_people_do_not_read_orders_and_agents_do_not_read_nodes(joined):
    node_id, _, people, agent = joined
    problem(await people.get("/api/v1/nodes/self/orders"), 403, "forbidden")
    problem(await people.post("/api/v1/nodes/self/heartbeat", json={"sent_at": ""}), 403, "forbidden")
    problem(await agent.get(f"/api/v1/nodes/{node_id}"), 403, "forbidden")
    problem(await agent.post("/api/v1/node-tokens", json={}), 403, "forbidden")


async def test_another_organisations_nodes_are_not_there(world, client, joined):
    node_id, _, _, _ = joined
    other_id = await world.organisation("Other", OrganisationKind.GAMER)
    other = client(await world.key(other_id, Role.GAMER))
    assert (await other.get("/api/v1/nodes")).json() == {"data": [], "next_cursor": None}
    problem(await other.get(f"/api/v1/nodes/{node_id}"), 404, "not_found")
    problem(await other.post(f"/api/v1/nodes/{node_id}/drain"), 404, "not_found")
    problem(await other.post("/api/v1/node-tokens", json={"org_id": str(joined[1])}), 404, "not_found")


async def test_admins_see_every_node_and_make_tokens_for_providers(world, client, joined):
    node_id, org_id, _, _ = joined
    ours = await world.organisation("Ours", OrganisationKind.PLATFORM)
    admin = client(await world.key(ours, Role.ADMIN))
    assert [node["id"] for node in (await admin.get("/api/v1/nodes")).json()["data"]] == [str(node_id)]
    assert (await admin.post("/api/v1/node-tokens", json={"org_id": str(org_id)})).json()["org_id"] == str(org_id)
    problem(await admin.post("/api/v1/node-tokens", json={}), 422, "not_a_provider")
    assert (await admin.post(f"/api/v1/nodes/{node_id}/drain")).json()["draining"] is True


async def test_developers_have_no_nodes(world, client):
    org_id = await world.organisation("Dev", OrganisationKind.DEVELOPER)
    developer = client(await world.key(org_id, Role.DEVELOPER))
    problem(await developer.get("/api/v1/nodes"), 403, "forbidden")
    problem(await client(None).get("/api/v1/nodes"), 401, "unauthenticated")


async def test_draining_and_back(world, joined):
    node_id, _, people, agent = joined
    await agent.post("/api/v1/nodes/self/heartbeat", json=msgspec.to_builtins(world.beat()))
    drained = (await people.post(f"/api/v1/nodes/{node_id}/drain")).json()
    assert (drained["health"], drained["draining"]) == ("draining", True)
    back = (await people.post(f"/api/v1/nodes/{node_id}/undrain")).json()
    assert (back["health"], back["draining"], back["version"]) == ("healthy", False, 4)


async def test_pages(world, provider):
    org_id, people = provider
    made = {str(await world.node(org_id, name=f"n{number}")) for number in range(5)}
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        answer = (await people.get("/api/v1/nodes", params=params)).json()
        seen += [node["id"] for node in answer["data"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert (len(seen), set(seen)) == (5, made)
    problem(await people.get("/api/v1/nodes", params={"cursor": "!!"}), 422, "bad_cursor")
    problem(await people.get("/api/v1/nodes", params={"limit": 0}), 422, "invalid")


async def test_an_old_key_ends_when_the_node_registers_anew(world, client, joined):
    _, org_id, _, agent = joined
    await world.register(await world.token(org_id))
    problem(await agent.get("/api/v1/nodes/self/orders"), 401, "unauthenticated")


async def test_providers_cannot_read_customers_commands(world, joined):
    _, org_id, _, _ = joined
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        async with world.db.as_org(org_id) as tx:
            await tx.execute(sa.text("select body from orders"))


def test_registration_helper_is_the_protocol(world):
    assert set(registration(world, "t")) == {field.name for field in dataclasses.fields(world.registration("t"))}
