"""The rate limit over HTTP: per key, by address without one, and told in the standard headers."""

import re

import pytest

from gridbroker.identity.role import Role
from tests.integration.api.support import Api, check_problem

QUOTA = 5


@pytest.fixture
def slow(database, clock, tmp_path) -> Api:
    return Api.build(database, clock, tmp_path, rate_limit_per_minute=QUOTA)


async def test_the_quota_is_a_keys_own(slow):
    org_id = await slow.organisation()
    one, two = [slow.client(await slow.key(org_id, Role.DEVELOPER)) for _ in range(2)]
    answers = [await one.get("/api/v1/whoami") for _ in range(QUOTA + 1)]
    assert [answer.status_code for answer in answers] == [200] * QUOTA + [429]
    remaining = [int(re.search(r";r=(\d+)", answer.headers["ratelimit"])[1]) for answer in answers]
    assert remaining == [4, 3, 2, 1, 0, 0]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {f'"key";q={QUOTA};w=60'}
    check_problem(answers[-1], 429, "rate_limited")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
    assert (await two.get("/api/v1/whoami")).status_code == 200


async def test_callers_without_a_key_share_their_address(slow):
    here, elsewhere = slow.client(address="192.0.2.1"), slow.client(address="192.0.2.2")
    assert [(await here.get("/health")).status_code for _ in range(QUOTA + 1)] == [200] * QUOTA + [429]
    assert (await elsewhere.get("/health")).status_code == 200


async def test_one_ipv6_network_is_one_address(slow):
    answers = [await slow.client(address=f"2001:db8::{number}").get("/health") for number in range(1, QUOTA + 2)]
    assert [answer.status_code for answer in answers] == [200] * QUOTA + [429]
    assert (await slow.client(address="2001:db8:0:1::1").get("/health")).status_code == 200


async def test_guessing_keys_is_counted_by_address(slow):
    guesses = [await slow.client(f"gridbroker_key_{'A' * 8}_{letter * 59}").get("/api/v1/whoami") for letter in "ABCDEFG"]
    assert [answer.status_code for answer in guesses] == [401] * QUOTA + [429] * 2
    malformed = await slow.client().get("/api/v1/whoami", headers={"Authorization": "Basic x"})
    check_problem(malformed, 429, "rate_limited")


async def test_paths_that_do_not_exist_count_too(slow):
    client = slow.client()
    assert [(await client.get(f"/nope/{number}")).status_code for number in range(QUOTA + 1)] == [404] * QUOTA + [429]
