"""Two organisations with everything that an organisation can have: neither finds anything of the other's, by any id."""

from dataclasses import dataclass
from uuid import UUID

import httpx
import pytest

from gridbroker.identity.role import OrganisationKind, Role
from tests.integration.api.support import WORKLOAD, Api, Customer, Life, Provider, check_problem, checkpoint_body, post


@dataclass(frozen=True)
class Side:
    customer: Customer
    provider: Provider
    life: Life


async def side(api: Api) -> Side:
    customer, provider = await api.developer(), await api.provider()
    life = await api.run_to_receipt(customer, provider)
    # Drained, so that the other side's workload runs on the other side's node.
    (await provider.http.post(f"/api/v1/nodes/{provider.node_id}/drain")).raise_for_status()
    return Side(customer, provider, life)


@pytest.fixture
async def sides(api: Api) -> tuple[Side, Side]:
    await api.refresh_grid()
    return await side(api), await side(api)


OF_CUSTOMER = (
    "/api/v1/workloads/{workload_id}",
    "/api/v1/workloads/{workload_id}/decisions",
    "/api/v1/workloads/{workload_id}/placements",
    "/api/v1/workloads/{workload_id}/events",
    "/api/v1/workloads/{workload_id}/logs",
    "/api/v1/decisions/{decision_id}/rebuilt",
    "/api/v1/statements/{workload_id}",
    "/api/v1/receipts/{receipt_id}",
    "/api/v1/receipts/{receipt_id}/proof",
)
LISTS_OF_CUSTOMER = ("workloads", "keys", "charges", "receipts", "statements", "ledger/entries")
LISTS_OF_PROVIDER = ("nodes", "keys", "payouts", "ledger/entries")


def path_of(template: str, of: Side) -> str:
    life = of.life
    return template.format(workload_id=life.workload_id, decision_id=life.decision_id, receipt_id=life.receipt_id)


async def ids_in(client: httpx.AsyncClient, name: str, **params: str) -> set[str]:
    data = (await client.get(f"/api/v1/{name}", params=params)).raise_for_status().json()["data"]
    return {str(one.get("id", one.get("workload_id"))) for one in data}


async def test_what_one_reads_the_other_does_not_find(api, sides):
    for mine, other in (sides, sides[::-1]):
        finance = api.client(await api.key(other.customer.org_id, Role.FINANCE))
        for template in OF_CUSTOMER:
            path = path_of(template, mine)
            assert (await mine.customer.http.get(path)).status_code == 200, path
            for stranger in (other.customer.http, finance):
                check_problem(await stranger.get(path), 404, "not_found")
        node = f"/api/v1/nodes/{mine.provider.node_id}"
        assert (await mine.provider.http.get(node)).status_code == 200
        check_problem(await other.provider.http.get(node), 404, "not_found")


async def test_lists_hold_ones_own_rows_only(sides):
    one, two = sides
    for name in LISTS_OF_CUSTOMER:
        first, second = [await ids_in(side.customer.http, name) for side in sides]
        assert first and second and not first & second, name
    for name in LISTS_OF_PROVIDER:
        first, second = [await ids_in(side.provider.http, name) for side in sides]
        assert first and second and not first & second, name
    workload = str(one.life.workload_id)
    for name in ("charges", "receipts"):
        assert await ids_in(one.customer.http, name, workload_id=workload)
        assert not await ids_in(two.customer.http, name, workload_id=workload)
    assert not await ids_in(two.provider.http, "payouts", workload_id=workload)
    assert not await ids_in(two.customer.http, "ledger/entries", reference=workload)


async def test_another_organisations_ids_cannot_be_acted_on(api, sides):
    mine, other = sides
    running = await api.submit(mine.customer)
    key = (await mine.customer.http.get("/api/v1/keys")).json()["data"][0]["id"]
    before = await api.row_counts()
    for action in ("route", "cancel", "complete"):
        check_problem(await other.customer.http.post(f"/api/v1/workloads/{running}/{action}"), 404, "not_found")
    for action in ("drain", "undrain"):
        path = f"/api/v1/nodes/{mine.provider.node_id}/{action}"
        check_problem(await other.provider.http.post(path), 404, "not_found")
    check_problem(await other.customer.http.post(f"/api/v1/keys/{key}/revoke"), 404, "not_found")
    check_problem(await post(other.customer.http, f"/api/v1/keys/{key}/rotate", {}), 404, "not_found")
    body = {"name": "mine now", "role": "developer", "org_id": str(mine.customer.org_id)}
    check_problem(await post(other.customer.http, "/api/v1/keys", body), 404, "not_found", "/org_id")
    assert await api.row_counts() == before
    assert (await mine.customer.http.get("/api/v1/whoami")).status_code == 200


async def test_a_node_reaches_the_placements_it_holds_and_no_others(api, sides):
    mine, other = sides
    held = f"/api/v1/nodes/self/placements/{mine.life.placement_id}"
    at = api.clock.now().isoformat()
    before = await api.row_counts()
    report = {"epoch": mine.life.epoch, "seq": 99, "kind": "exited", "at": at, "exit_code": 0}
    line = {"seq": 9, "at": at, "stream": "stdout", "text": "not mine"}
    agent = other.provider.agent
    for answer in (
        await agent.post(f"{held}/reports", json=report),
        await agent.post(f"{held}/logs", json={"epoch": mine.life.epoch, "lines": [line]}),
        await agent.post(f"{held}/checkpoints", json=checkpoint_body(mine.life.epoch, 11)),
        await agent.get(f"{held}/blobs/{'a' * 64}"),
        await agent.put(f"{held}/blobs/{'a' * 64}", content=b"x"),
    ):
        check_problem(answer, 404, "not_found")
    assert await api.row_counts() == before


async def test_a_token_for_another_provider_is_for_admins_to_make(api, sides):
    mine, other = sides
    body = {"org_id": str(mine.provider.org_id)}
    before = await api.row_counts()
    answer = await post(other.provider.http, "/api/v1/node-tokens", body)
    assert answer.status_code in (404, 422)
    assert await api.row_counts() == before
    admin = api.client(await api.key(await api.organisation(OrganisationKind.PLATFORM), Role.ADMIN))
    assert (await post(admin, "/api/v1/node-tokens", body)).status_code == 201


async def test_an_idempotency_key_belongs_to_its_organisation(api, sides):
    one, two = sides
    first = await post(one.customer.http, "/api/v1/workloads", WORKLOAD, key="shared")
    second = await post(two.customer.http, "/api/v1/workloads", WORKLOAD, key="shared")
    assert (first.status_code, second.status_code) == (201, 201)
    assert UUID(first.json()["id"]) != UUID(second.json()["id"])
    assert "idempotent-replayed" not in second.headers
