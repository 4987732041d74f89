"""Every route as every role: who may call is written here a second time, by hand, and the two must agree."""

from uuid import uuid4

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from gridbroker.identity.role import Role, Scope
from tests.integration.api.support import BLOB_SHA256, KIND_OF_ROLE, WORKLOAD, Api, check_problem, checkpoint_body, post

D, C, G, R, F, A, N = (
    Role.DEVELOPER, Role.DATACENTER, Role.GAMER, Role.RECYCLER, Role.FINANCE, Role.ADMIN, Role.NODE,
)  # fmt: skip
ANYBODY: frozenset[Role] = frozenset()
PEOPLE = frozenset({D, C, G, R, F, A})
PROVIDERS = frozenset({C, G, R, A})
CUSTOMERS = frozenset({D, F, A})
DEVELOPERS = frozenset({D, A})
ADMINS = frozenset({A})
NODES = frozenset({N})

ALLOWED: dict[str, frozenset[Role]] = {
    "GET /health": ANYBODY,
    "GET /ready": ANYBODY,
    "GET /metrics": ANYBODY,
    "GET /.well-known/did.json": ANYBODY,
    "POST /api/v1/nodes": ANYBODY,
    "GET /api/v1/whoami": PEOPLE,
    "POST /api/v1/organisations": ADMINS,
    "GET /api/v1/organisations": ADMINS,
    "POST /api/v1/keys": PEOPLE,
    "GET /api/v1/keys": PEOPLE,
    "POST /api/v1/keys/{key_id}/rotate": PEOPLE,
    "POST /api/v1/keys/{key_id}/revoke": PEOPLE,
    "GET /api/v1/grid/zones": PEOPLE,
    "GET /api/v1/grid/signals": PEOPLE,
    "GET /api/v1/offers": PEOPLE,
    "POST /api/v1/node-tokens": PROVIDERS,
    "GET /api/v1/nodes": PROVIDERS,
    "GET /api/v1/nodes/{node_id}": PROVIDERS,
    "POST /api/v1/nodes/{node_id}/drain": PROVIDERS,
    "POST /api/v1/nodes/{node_id}/undrain": PROVIDERS,
    "GET /api/v1/payouts": PROVIDERS | {F},
    "GET /api/v1/ledger/entries": PEOPLE,
    "POST /api/v1/wallet/top-ups": CUSTOMERS,
    "GET /api/v1/wallet": CUSTOMERS,
    "GET /api/v1/charges": CUSTOMERS,
    "GET /api/v1/receipts": CUSTOMERS,
    "GET /api/v1/receipts/{receipt_id}": CUSTOMERS,
    "GET /api/v1/receipts/{receipt_id}/proof": CUSTOMERS,
    "GET /api/v1/statements": CUSTOMERS,
    "GET /api/v1/statements/{workload_id}": CUSTOMERS,
    "GET /api/v1/workloads": CUSTOMERS,
    "GET /api/v1/workloads/{workload_id}": CUSTOMERS,
    "GET /api/v1/workloads/{workload_id}/decisions": CUSTOMERS,
    "GET /api/v1/workloads/{workload_id}/placements": CUSTOMERS,
    "GET /api/v1/workloads/{workload_id}/events": CUSTOMERS,
    "GET /api/v1/workloads/{workload_id}/logs": CUSTOMERS,
    "GET /api/v1/decisions/{decision_id}/rebuilt": CUSTOMERS,
    "POST /api/v1/workloads": DEVELOPERS,
    "POST /api/v1/workloads/{workload_id}/route": DEVELOPERS,
    "POST /api/v1/workloads/{workload_id}/cancel": DEVELOPERS,
    "POST /api/v1/workloads/{workload_id}/complete": DEVELOPERS,
    "POST /api/v1/plans": DEVELOPERS,
    "POST /api/v1/nodes/self/heartbeat": NODES,
    "GET /api/v1/nodes/self/orders": NODES,
    "POST /api/v1/nodes/self/samples": NODES,
    "POST /api/v1/nodes/self/placements/{placement_id}/reports": NODES,
    "POST /api/v1/nodes/self/placements/{placement_id}/logs": NODES,
    "POST /api/v1/nodes/self/placements/{placement_id}/checkpoints": NODES,
    "HEAD /api/v1/nodes/self/placements/{placement_id}/blobs/{sha256}": NODES,
    "PUT /api/v1/nodes/self/placements/{placement_id}/blobs/{sha256}": NODES,
    "GET /api/v1/nodes/self/placements/{placement_id}/blobs/{sha256}": NODES,
}
OUTSIDE_THE_SCHEMA = ("/docs", "/docs/assets")

AT = "2026-03-20T12:00:00Z"
BODIES: dict[str, object] = {
    "POST /api/v1/organisations": {"name": "New", "kind": "developer"},
    "POST /api/v1/keys": {"name": "new", "role": "finance"},
    "POST /api/v1/keys/{key_id}/rotate": {"overlap_minutes": 5},
    "POST /api/v1/node-tokens": {},
    "POST /api/v1/nodes": {"token": "unknown", "name": "n", "zone": "FR", "gpu_model": "H100", "gpu_count": 1},
    "POST /api/v1/wallet/top-ups": {"amount": "1.00", "currency": "EUR", "payment_method": "pm_card_visa"},
    "POST /api/v1/workloads": WORKLOAD,
    "POST /api/v1/plans": WORKLOAD,
    "POST /api/v1/nodes/self/heartbeat": {"sent_at": AT},
    "POST /api/v1/nodes/self/samples": {"boot_id": "b", "samples": []},
    "POST /api/v1/nodes/self/placements/{placement_id}/reports": {"epoch": 1, "seq": 1, "kind": "running", "at": AT},
    "POST /api/v1/nodes/self/placements/{placement_id}/logs": {"epoch": 1, "lines": []},
    "POST /api/v1/nodes/self/placements/{placement_id}/checkpoints": checkpoint_body(1, 1),
}
QUERY = {"GET /api/v1/grid/signals": {"zone": "FR", "kind": "price"}}


async def call(client: httpx.AsyncClient, route: str) -> httpx.Response:
    """A well-formed call of a route, with ids that nobody has."""
    method, _, template = route.partition(" ")
    ids = {name: str(uuid4()) for name in ("key_id", "node_id", "workload_id", "receipt_id", "decision_id", "placement_id")}
    path = template.format(**ids, sha256=BLOB_SHA256)
    headers = {"Idempotency-Key": str(uuid4())} if method == "POST" else {}
    return await client.request(method, path, json=BODIES.get(route), params=QUERY.get(route), headers=headers)


def routes_of(api: Api) -> dict[str, HTTPRouteHandler]:
    return {
        f"{method} {route.path_format}": handler
        for route in api.litestar.routes
        if isinstance(route, HTTPRoute) and not route.path_format.startswith(OUTSIDE_THE_SCHEMA)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    }


async def test_the_table_names_every_route_and_no_other(api):
    assert set(ALLOWED) == set(routes_of(api))


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_call_what_the_table_says_and_nothing_else(api, role):
    org_id = await api.organisation(KIND_OF_ROLE[role])
    node = (await api.provider()).node_id if role is Role.NODE else None
    client = api.client(await api.key(org_id, role, node=node))
    before = await api.row_counts()
    for route, roles in ALLOWED.items():
        if not roles or role in roles:
            continue
        check_quietly(await call(client, route), 403, "forbidden", route)
    assert await api.row_counts() == before, "a refused call wrote"
    for route, roles in ALLOWED.items():
        if role in roles:
            status = (await call(client, route)).status_code
            assert status not in (401, 403) and status < 500, (route, status)


def check_quietly(answer: httpx.Response, status: int, code: str, route: str) -> None:
    """HEAD has no body to look at."""
    if route.startswith("HEAD"):
        assert (answer.status_code, answer.content) == (status, b"")
        return
    check_problem(answer, status, code)


async def test_keys_that_are_nobodys_revoked_or_expired_open_nothing(api):
    org_id = await api.organisation()
    people = api.client(await api.key(org_id, Role.DEVELOPER))
    created = (await post(people, "/api/v1/keys", {"name": "ends", "role": "developer"})).json()
    (await people.post(f"/api/v1/keys/{created['id']}/revoke")).raise_for_status()
    keys = {
        "none": None,
        "unknown": created["secret"][:-1] + ("2" if created["secret"][-1] != "2" else "3"),
        "revoked": created["secret"],
        "expired": await api.key(org_id, Role.DEVELOPER, days=0),
        "malformed": "nonsense",
    }
    before = await api.row_counts()
    for name, key in keys.items():
        client = api.client(key)
        for route, roles in ALLOWED.items():
            if roles or name != "none":
                answer = await call(client, route)
                check_quietly(answer, 401, "unauthenticated", route)
                assert answer.headers["www-authenticate"].startswith("Bearer")
    assert await api.row_counts() == before


async def test_what_is_public_answers_without_a_key(api):
    for route in (route for route, roles in ALLOWED.items() if not roles and route.startswith("GET")):
        assert (await call(api.client(), route)).status_code == 200, route
    check_problem(await call(api.client(), "POST /api/v1/nodes"), 401, "node_token_unknown")


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.DATACENTER, Role.ADMIN])
@pytest.mark.parametrize("scope", list(Scope))
async def test_a_scope_opens_only_its_half(api, role, scope):
    client = api.client(await api.key(await api.organisation(KIND_OF_ROLE[role]), role, [scope]))
    before = await api.row_counts()
    for route in (route for route, roles in ALLOWED.items() if role in roles):
        reading = route.startswith("GET")
        if reading != (scope is Scope.READ):
            check_problem(await call(client, route), 403, "forbidden")
    assert await api.row_counts() == before
    readable = [route for route, roles in ALLOWED.items() if role in roles and route.startswith("GET")]
    if scope is Scope.READ:
        assert all([(await call(client, route)).status_code in (200, 404) for route in readable])
