"""API keys over HTTP: shown once, stored as a hash, rotated with an overlap, revoked at once, never worth more than their giver."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from gridbroker.identity.role import OrganisationKind, Role, Scope
from tests.integration.api.support import KIND_OF_ROLE, Api, check_problem, post

KEYS = "/api/v1/keys"


async def works(api: Api, secret: str) -> bool:
    status = (await api.client(secret).get("/api/v1/whoami")).status_code
    assert status in (200, 401)
    return status == 200


async def create(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await post(client, KEYS, {"name": "k", "role": "developer"} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
async def org_id(api: Api) -> UUID:
    return await api.organisation()


@pytest.fixture
async def developer(api: Api, org_id: UUID) -> httpx.AsyncClient:
    return api.client(await api.key(org_id, Role.DEVELOPER))


async def every_text(api: Api) -> str:
    """All that the database holds, as text."""
    async with api.db.as_system() as tx:
        tables = await tx.scalars(
            sa.text("select tablename from pg_tables where schemaname = 'public' and tablename <> 'alembic_version'")
        )
        found = [str(row) for table in tables for row in await tx.scalars(sa.text(f"select row_to_json(t)::text from {table} t"))]
    return "\n".join(found)


async def test_a_secret_is_shown_once_and_kept_nowhere(api, developer):
    body = {"name": "k", "role": "developer"}
    first = (await post(developer, KEYS, body, key="one")).json()
    again = await post(developer, KEYS, body, key="one")
    rotated = (await post(developer, f"{KEYS}/{first['id']}/rotate", {}, key="two")).json()
    rotated_again = (await post(developer, f"{KEYS}/{first['id']}/rotate", {}, key="two")).json()
    listed = await developer.get(KEYS)
    assert again.json() == first | {"secret": None} and rotated_again == rotated | {"secret": None}
    kept = await every_text(api)
    for secret in (first["secret"], rotated["secret"]):
        assert await works(api, secret)
        hidden = secret.rpartition("_")[2]
        for place in (listed.text, again.text, kept, kept.encode().hex()):
            assert hidden not in place and hidden.encode().hex() not in place
    assert first["prefix"] in kept and first["secret"].startswith(first["prefix"] + "_")
    assert "secret" not in listed.json()["data"][0]


async def test_a_node_token_and_a_nodes_key_are_kept_nowhere_either(api):
    org_id = await api.organisation(OrganisationKind.DATACENTER)
    people = api.client(await api.key(org_id, Role.DATACENTER))
    first = (await post(people, "/api/v1/node-tokens", {}, key="one")).json()
    assert (await post(people, "/api/v1/node-tokens", {}, key="one")).json()["token"] is None
    registration = {"token": first["token"], "name": "n1", "zone": "FR", "gpu_model": "H100", "gpu_count": 1}
    credentials = (await api.client().post("/api/v1/nodes", json=registration)).json()
    kept = await every_text(api)
    for secret in (first["token"], credentials["key"]):
        assert secret.rpartition("_")[2] not in kept
    assert credentials["key"] not in (await people.get(KEYS)).text
    assert (await people.get(KEYS)).json()["data"] != [] and credentials["node_id"] not in (await people.get(KEYS)).text


async def test_the_old_key_works_until_the_overlap_ends(api, developer):
    old = await create(developer)
    new = (await post(developer, f"{KEYS}/{old['id']}/rotate", {"overlap_minutes": 30})).json()
    assert (new["role"], new["scopes"], new["name"]) == (old["role"], old["scopes"], old["name"])
    api.clock.advance(timedelta(minutes=29, seconds=59))
    assert await works(api, old["secret"]) and await works(api, new["secret"])
    api.clock.advance(timedelta(seconds=1))
    assert not await works(api, old["secret"]) and await works(api, new["secret"])
    check_problem(await post(developer, f"{KEYS}/{old['id']}/rotate", {}), 409, "conflict")


async def test_a_rotation_never_lengthens_a_life(api, developer):
    old = await create(developer, expires_in_days=1)
    new = (await post(developer, f"{KEYS}/{old['id']}/rotate", {"overlap_minutes": 7 * 24 * 60})).json()
    assert new["expires_at"] == old["expires_at"]
    api.clock.advance(timedelta(days=1))
    assert not await works(api, old["secret"]) and not await works(api, new["secret"])


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(api, developer):
    old = await create(developer)
    assert (await post(developer, f"{KEYS}/{old['id']}/rotate", {"overlap_minutes": 0})).status_code == 201
    assert not await works(api, old["secret"])


@pytest.mark.parametrize("minutes", [-1, 7 * 24 * 60 + 1])
async def test_an_overlap_out_of_range(developer, minutes):
    old = await create(developer)
    check_problem(
        await post(developer, f"{KEYS}/{old['id']}/rotate", {"overlap_minutes": minutes}), 422, "invalid", "/overlap_minutes"
    )


async def test_a_revoked_key_ends_at_once_also_within_an_overlap(api, developer):
    old = await create(developer)
    await post(developer, f"{KEYS}/{old['id']}/rotate", {"overlap_minutes": 60})
    for _ in range(2):
        assert (await developer.post(f"{KEYS}/{old['id']}/revoke")).status_code == 204
    assert not await works(api, old["secret"])
    shown = {key["id"]: key for key in (await developer.get(KEYS)).json()["data"]}
    assert shown[old["id"]]["revoked_at"] == "2026-03-20T12:00:00Z"


async def test_an_expired_key_ends_by_itself(api, developer):
    key = await create(developer, expires_in_days=1)
    api.clock.advance(timedelta(days=1) - timedelta(seconds=1))
    assert await works(api, key["secret"])
    api.clock.advance(timedelta(seconds=1))
    assert not await works(api, key["secret"])


async def test_the_last_use_shows_about_when_it_was(api, developer):
    key = await create(developer)
    await works(api, key["secret"])
    api.clock.advance(timedelta(hours=1))
    await works(api, key["secret"])
    shown = {one["id"]: one for one in (await developer.get(KEYS)).json()["data"]}
    assert shown[key["id"]]["last_used_at"] == "2026-03-20T13:00:00Z"


GIVES = {
    Role.DEVELOPER: {Role.DEVELOPER, Role.FINANCE},
    Role.DATACENTER: {Role.DATACENTER, Role.FINANCE},
    Role.GAMER: {Role.GAMER, Role.FINANCE},
    Role.RECYCLER: {Role.RECYCLER, Role.FINANCE},
    Role.FINANCE: {Role.FINANCE},
    Role.ADMIN: {Role.ADMIN, Role.FINANCE},
}


@pytest.mark.parametrize("giver", list(GIVES))
async def test_nobody_gives_what_they_do_not_have(api, giver):
    client = api.client(await api.key(await api.organisation(KIND_OF_ROLE[giver]), giver))
    before = await api.row_counts()
    for role in set(Role) - GIVES[giver]:
        answer = await post(client, KEYS, {"name": "k", "role": role})
        assert answer.status_code in (403, 422), (role, answer.text)
    assert await api.row_counts() == before
    for role in GIVES[giver]:
        assert (await post(client, KEYS, {"name": "k", "role": role})).status_code == 201


@pytest.mark.parametrize("kind", [OrganisationKind.DEVELOPER, OrganisationKind.PLATFORM])
async def test_finance_cannot_rotate_its_way_into_another_role(api, kind):
    role = Role.ADMIN if kind is OrganisationKind.PLATFORM else Role.DEVELOPER
    org_id = await api.organisation(kind)
    await api.key(org_id, role)
    finance = api.client(await api.key(org_id, Role.FINANCE))
    [theirs] = [key for key in (await finance.get(KEYS)).json()["data"] if key["role"] == role]
    before = await api.row_counts()
    check_problem(await post(finance, f"{KEYS}/{theirs['id']}/rotate", {}), 403, "not_yours_to_give")
    check_problem(await finance.post(f"{KEYS}/{theirs['id']}/revoke"), 403, "not_yours_to_give")
    assert await api.row_counts() == before


async def test_no_key_gives_a_scope_that_it_lacks(api, org_id):
    both = await api.key(org_id, Role.DEVELOPER)
    writer = api.client(await api.key(org_id, Role.DEVELOPER, [Scope.WRITE]))
    check_problem(await post(writer, KEYS, {"name": "k", "role": "developer"}), 403, "not_yours_to_give", "/scopes")
    key_id = next(key["id"] for key in (await api.client(both).get(KEYS)).json()["data"] if key["scopes"] == ["read", "write"])
    check_problem(await post(writer, f"{KEYS}/{key_id}/rotate", {}), 403, "not_yours_to_give")
    made = await create(writer, scopes=["write"])
    check_problem(await api.client(made["secret"]).get("/api/v1/whoami"), 403, "forbidden")


async def test_admins_make_the_first_key_of_an_organisation(api, org_id):
    admin = api.client(await api.key(await api.organisation(OrganisationKind.PLATFORM), Role.ADMIN))
    made = await create(admin, org_id=str(org_id))
    assert made["org_id"] == str(org_id) and await works(api, made["secret"])
    check_problem(await post(admin, KEYS, {"name": "k", "role": "admin", "org_id": str(org_id)}), 422, "role_not_allowed", "/role")
    check_problem(await post(admin, KEYS, {"name": "k", "role": "node", "org_id": str(org_id)}), 403, "not_yours_to_give")
    unknown = {"name": "k", "role": "developer", "org_id": "00000000-0000-0000-0000-000000000001"}
    check_problem(await post(admin, KEYS, unknown), 404, "not_found")


async def test_a_nodes_key_is_no_business_of_its_people(api):
    provider = await api.provider()
    async with api.db.as_system() as tx:
        key_id = await tx.scalar(sa.text("select id from api_keys where node_id is not null"))
    check_problem(await post(provider.http, f"{KEYS}/{key_id}/rotate", {}), 404, "not_found")
    check_problem(await provider.http.post(f"{KEYS}/{key_id}/revoke"), 404, "not_found")


async def test_lists_page_through_every_key_once(api, developer):
    made = {(await create(developer, name=f"k{number}"))["id"] for number in range(5)}
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await developer.get(KEYS, params={"limit": 2} | cursor)).json()
        seen += [key["id"] for key in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == len(set(seen)) == 6 and made < set(seen)
