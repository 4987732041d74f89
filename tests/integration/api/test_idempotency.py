"""One Idempotency-Key, one effect: replayed, refused for another body, and safe for two requests at once."""

import asyncio

import pytest

from gridbroker.core.errors import Conflict
from gridbroker.identity.idempotency import MAX_KEY_CHARS
from gridbroker.identity.role import OrganisationKind, Role
from tests.integration.api.support import WORKLOAD, Api, Customer, check_problem, post

WORKLOADS = "/api/v1/workloads"
TOP_UP = {"amount": "1.00", "currency": "EUR", "payment_method": "pm_card_visa"}
REPLAYED = "idempotent-replayed"


@pytest.fixture
async def customer(api: Api) -> Customer:
    return await api.developer()


async def admin(api: Api):
    return api.client(await api.key(await api.organisation(OrganisationKind.PLATFORM), Role.ADMIN))


async def test_a_replay_answers_as_the_first_did_and_does_nothing(api, customer):
    first = await post(customer.http, WORKLOADS, WORKLOAD, key="k1")
    api.queue.take()
    before = await api.row_counts()
    again = await post(customer.http, WORKLOADS, WORKLOAD, key="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert REPLAYED not in first.headers and again.headers[REPLAYED] == "true"
    assert again.json() == first.json()
    assert await api.row_counts() == before
    assert api.queue.take() == []


async def test_the_same_key_with_another_body_or_path_is_refused(api, customer):
    await post(customer.http, WORKLOADS, WORKLOAD, key="k1")
    before = await api.row_counts()
    check_problem(await post(customer.http, WORKLOADS, WORKLOAD | {"name": "other"}, key="k1"), 422, "idempotency_key_reused")
    check_problem(await post(customer.http, "/api/v1/wallet/top-ups", TOP_UP, key="k1"), 422, "idempotency_key_reused")
    assert await api.row_counts() == before


@pytest.mark.parametrize(("path", "body"), [(WORKLOADS, WORKLOAD), ("/api/v1/wallet/top-ups", TOP_UP)])
async def test_what_costs_money_needs_a_key(api, customer, path, body):
    before = await api.row_counts()
    check_problem(await customer.http.post(path, json=body), 400, "idempotency_key_missing")
    assert await api.row_counts() == before


async def test_a_key_that_is_no_plain_text(api, customer):
    before = await api.row_counts()
    for key in ("", "ü", "x" * (MAX_KEY_CHARS + 1), "a\tb"):
        answer = await customer.http.post(WORKLOADS, json=WORKLOAD, headers={"Idempotency-Key": key.encode("latin-1")})
        check_problem(answer, 400, "malformed_request")
    assert await api.row_counts() == before


@pytest.mark.parametrize(
    ("path", "body", "table"),
    [
        (WORKLOADS, WORKLOAD, "workloads"),
        ("/api/v1/wallet/top-ups", TOP_UP, "charges"),
        ("/api/v1/keys", {"name": "k", "role": "developer"}, "api_keys"),
    ],
)
async def test_identical_requests_at_once_create_one_row(api, customer, path, body, table):
    before = await api.row_counts()
    answers = await asyncio.gather(*[post(customer.http, path, body, key="same") for _ in range(6)])
    after = await api.row_counts()
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(REPLAYED in answer.headers for answer in answers) == 5
    assert after[table] - before[table] == 1
    assert after["idempotency_keys"] - before["idempotency_keys"] == 1


async def test_at_once_where_the_second_would_run_into_the_firsts_unique_name(api):
    client = await admin(api)
    body = {"name": "Once", "kind": "developer"}
    answers = await asyncio.gather(*[post(client, "/api/v1/organisations", body, key="same") for _ in range(6)])
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_at_once_with_different_bodies_one_wins(api, customer):
    bodies = [WORKLOAD | {"name": f"w{number}"} for number in range(4)]
    answers = await asyncio.gather(*[post(customer.http, WORKLOADS, body, key="same") for body in bodies])
    assert sorted(answer.status_code for answer in answers) == [201, 422, 422, 422]
    assert (await api.row_counts())["workloads"] == 1


async def test_a_refused_request_leaves_its_key_free(api):
    poor = await api.developer(euros=None)
    check_problem(await post(poor.http, WORKLOADS, WORKLOAD, key="k1"), 402, "insufficient_funds")
    await post(poor.http, "/api/v1/wallet/top-ups", TOP_UP | {"amount": "50.00"})
    await api.drain()
    assert (await post(poor.http, WORKLOADS, WORKLOAD, key="k1")).status_code == 201


async def test_keys_are_case_and_content_sensitive(customer):
    ids = [(await post(customer.http, WORKLOADS, WORKLOAD, key=key)).json()["id"] for key in ("k", "K", "k ", "k2")]
    assert len(set(ids)) >= 3


def test_reuse_is_no_conflict():
    """422, as the draft says: retrying it as it is will never work."""
    from gridbroker.identity.idempotency import KeyReused

    assert not issubclass(KeyReused, Conflict)
