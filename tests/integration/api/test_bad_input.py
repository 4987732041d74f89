"""What bad input gets: a problem document that says exactly what is wrong, and nothing written."""

import asyncio
import json
from typing import Any, Self
from uuid import uuid4

import httpx
import pytest

from gridbroker.identity.role import OrganisationKind, Role
from tests.integration.api.support import WORKLOAD, Api, Customer, check_problem, post

WORKLOADS = "/api/v1/workloads"
JSON = {"Content-Type": "application/json"}
ARABIC_FIVE = "\u0665"
EURO = {"amount": "5.00", "currency": "EUR"}


@pytest.fixture
async def customer(api: Api) -> Customer:
    return await api.developer()


class Refusals:
    """Requests that are all refused; every wrong answer is told at the end, not only the first, and none may have written."""

    def __init__(self, api: Api) -> None:
        self.api, self.wrong = api, list[str]()

    def check(self, label: object, answer: httpx.Response, status: int, code: str | None, *pointers: str) -> None:
        """`code` None: any code, as long as it is a refusal."""
        try:
            assert answer.status_code >= 400, f"accepted with {answer.status_code}"
            check_problem(answer, status, code or answer.json()["code"], *pointers)
        except AssertionError as error:
            self.wrong.append(f"{label}: {error}")

    async def __aenter__(self) -> Self:
        self.api.queue.take()
        self.before = await self.api.row_counts()
        return self

    async def __aexit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None:
            return
        assert not self.wrong, "\n".join(self.wrong)
        assert await self.api.row_counts() == self.before
        assert self.api.queue.take() == []


async def refused(api: Api, send: Any, status: int, code: str, *pointers: str) -> dict[str, Any]:
    """Await a request and check its problem, and that it wrote nothing and hinted at nothing."""
    before = await api.row_counts()
    problem = check_problem(await send, status, code, *pointers)
    assert await api.row_counts() == before
    assert api.queue.take() == []
    return problem


WRONG_WORKLOADS: list[Any] = [
    ({"gpu_model": "H900"}, "invalid_workload", ["/gpu_model"]),
    ({"gpu_model": ""}, "invalid", ["/gpu_model"]),
    ({"gpus": 0}, "invalid", ["/gpus"]),
    ({"gpus": -1}, "invalid", ["/gpus"]),
    ({"gpus": 10**30}, "invalid", ["/gpus"]),
    ({"gpus": 1.5}, "invalid", ["/gpus"]),
    ({"gpus": "2"}, "invalid", ["/gpus"]),
    ({"vram_mib": -1}, "invalid", ["/vram_mib"]),
    ({"expected_hours": 0}, "invalid", ["/expected_hours"]),
    ({"expected_hours": -1.0}, "invalid", ["/expected_hours"]),
    ({"expected_hours": 2001}, "invalid", ["/expected_hours"]),
    ({"expected_hours": "nan"}, "invalid", ["/expected_hours"]),
    ({"load": 1.1}, "invalid", ["/load"]),
    ({"max_intensity_g_per_kwh": 0}, "invalid", ["/max_intensity_g_per_kwh"]),
    ({"max_restarts": -1}, "invalid", ["/max_restarts"]),
    ({"memory_limit_mib": 0}, "invalid", ["/memory_limit_mib"]),
    ({"budget": {"amount": "5.00"}}, "invalid", ["/budget/currency"]),
    ({"budget": "5.00"}, "invalid", ["/budget"]),
    ({"budget": {"amount": 5, "currency": "EUR"}}, "invalid", ["/budget/amount"]),
    ({"budget": {"amount": "5", "currency": "XXX"}}, "invalid_workload", ["/budget/currency"]),
    ({"budget": {"amount": "5", "currency": ""}}, "invalid_workload", ["/budget/currency"]),
    ({"budget": {"amount": "5", "currency": "eur"}}, "invalid_workload", ["/budget/currency"]),
    *(
        ({"budget": {"amount": amount, "currency": "EUR"}}, "invalid_workload", ["/budget/amount"])
        for amount in ("0", "-1", "NaN", "Infinity", "1e3", "1_000", " 5", "five", "", "5.0000001", "1000000.01", ARABIC_FIVE)
    ),
    ({"budget": EURO | {"cents": 1}}, "invalid", ["/budget/cents"]),
    ({"deadline_at": "2026-03-20T11:59:59Z"}, "invalid_workload", ["/deadline_at"]),
    ({"deadline_at": "2026-03-20T13:30:00+02:00"}, "invalid_workload", ["/deadline_at"]),
    ({"deadline_at": "2026-03-21T12:00:00"}, "invalid_workload", ["/deadline_at"]),
    ({"deadline_at": "9999-12-31T23:59:59-12:00"}, "invalid_workload", ["/deadline_at"]),
    ({"deadline_at": "tomorrow"}, "invalid", ["/deadline_at"]),
    ({"deadline_at": 1774000000}, "invalid", ["/deadline_at"]),
    ({"image": "example/train"}, "invalid_workload", ["/command"]),
    ({"command": None}, "invalid_workload", ["/command"]),
    ({"command": []}, "invalid_workload", ["/command"]),
    ({"command": [""]}, "invalid_workload", ["/command"]),
    ({"command": ["a", 1]}, "invalid", ["/command/1"]),
    ({"command": "train"}, "invalid", ["/command"]),
    ({"zones": ["FR", "XX"]}, "invalid_workload", ["/zones/1"]),
    ({"zones": [1]}, "invalid", ["/zones/0"]),
    ({"home_zone": "XX"}, "invalid_workload", ["/home_zone"]),
    ({"environment": {"a/b": "1"}}, "invalid_workload", ["/environment/a~1b"]),
    ({"environment": {"GRIDBROKER_EPOCH": "1"}}, "invalid_workload", ["/environment/GRIDBROKER_EPOCH"]),
    ({"environment": {"A": 1}}, "invalid", ["/environment"]),
    ({"checkpoint": {"grace_s": 0}}, "invalid", ["/checkpoint/grace_s"]),
    ({"checkpoint": {"grace": 1}}, "invalid", ["/checkpoint/grace"]),
    ({"nmae": "typo"}, "invalid", ["/nmae"]),
    ({"name": ""}, "invalid", ["/name"]),
    ({"name": None}, "invalid", ["/name"]),
    ({"name": "a\0b"}, "invalid_workload", ["/name"]),
    ({"command": ["a", "\0"]}, "invalid_workload", ["/command/1"]),
    ({"command": None, "image": "a\0"}, "invalid_workload", ["/image"]),
    ({"environment": {"A": "\0"}}, "invalid_workload", ["/environment/A"]),
    ({"gpus": 0, "nmae": 1}, "invalid", None),
    ({"gpu_model": "H900", "zones": ["XX"], "image": "x"}, "invalid_workload", ["/gpu_model", "/command", "/zones/0"]),
]


@pytest.mark.parametrize("path", [WORKLOADS, "/api/v1/plans"])
async def test_a_workload_that_cannot_be(api, customer, path):
    async with Refusals(api) as refusals:
        for changes, code, pointers in WRONG_WORKLOADS:
            refusals.check(changes, await post(customer.http, path, WORKLOAD | changes), 422, code, *(pointers or ()))


async def test_a_missing_field_is_named(api, customer):
    body = {name: value for name, value in WORKLOAD.items() if name != "budget"}
    await refused(api, post(customer.http, WORKLOADS, body), 422, "invalid", "/budget")


WRONG_BODIES: list[Any] = [
    (b"", 422, "invalid"),
    (b"null", 422, "invalid"),
    (b"[]", 422, "invalid"),
    (b'"text"', 422, "invalid"),
    (b"{", 400, "malformed_request"),
    (b"not json", 400, "malformed_request"),
    (b'{"name": "x",}', 400, "malformed_request"),
    (b'{"expected_hours": NaN}', 400, "malformed_request"),
    (b'{"expected_hours": -Infinity}', 400, "malformed_request"),
    (b'{"expected_hours": 1e999}', 422, "invalid"),
    (b'{"name": "\xff\xfe"}', 400, "malformed_request"),
    (b'{"name": "\\ud800"}', 400, "malformed_request"),
    (b'{"name": "\x00"}', 400, "malformed_request"),
    (b"\xef\xbb\xbf{}", 400, "malformed_request"),
    (json.dumps(WORKLOAD).encode("utf-16"), 400, "malformed_request"),
    (b'{"gpus": ' + b"9" * 5000 + b"}", 422, "invalid"),
    (b"[" * 100_000 + b"]" * 100_000, 422, "invalid"),
    (b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422, "invalid"),
    (b'{"nope": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422, "invalid"),
]


async def test_a_body_that_is_no_such_json(api, customer):
    headers = JSON | {"Idempotency-Key": "k"}
    async with Refusals(api) as refusals:
        for content, status, code in WRONG_BODIES:
            refusals.check(content[:40], await customer.http.post(WORKLOADS, content=content, headers=headers), status, code)


async def test_a_body_of_ten_megabytes_is_not_read(api, customer):
    body = b'{"name": "' + b"x" * 10_000_000 + b'"}'
    await refused(api, customer.http.post(WORKLOADS, content=body, headers=JSON), 413, "too_large")

    async def stream():
        """No Content-Length to go by."""
        for _ in range(160):
            yield b"x" * 65_536

    await refused(api, customer.http.post(WORKLOADS, content=stream(), headers=JSON), 413, "too_large")


async def test_another_content_type(api, customer):
    async with Refusals(api) as refusals:
        for given in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", None):
            headers = {"Idempotency-Key": "k"} | ({"Content-Type": given} if given else {})
            answer = await customer.http.post(WORKLOADS, content=json.dumps(WORKLOAD), headers=headers)
            refusals.check(given, answer, 415, "unsupported_media_type")


async def test_json_with_a_charset_is_json(customer):
    headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": "k"}
    assert (await customer.http.post(WORKLOADS, content=json.dumps(WORKLOAD), headers=headers)).status_code == 201


WRONG_LISTS: list[Any] = [
    ("limit=0", "invalid", ["/limit"]),
    ("limit=-1", "invalid", ["/limit"]),
    ("limit=201", "invalid", ["/limit"]),
    ("limit=many", "invalid", ["/limit"]),
    ("limit=" + "9" * 5000, "invalid", ["/limit"]),
    ("state=lost", "invalid", ["/state"]),
    ("cursor=", "bad_cursor", ["/cursor"]),
    ("cursor=zzz", "bad_cursor", ["/cursor"]),
    ("cursor=%00%ff", "bad_cursor", ["/cursor"]),
    ("cursor=" + "A" * 23, "bad_cursor", ["/cursor"]),
    ("cursor=" + "A" * 21 + "B", "bad_cursor", ["/cursor"]),
    ("cursor=" + "A" * 22 + "!!", "bad_cursor", ["/cursor"]),
]


async def test_a_list_asked_for_wrongly(api, customer):
    async with Refusals(api) as refusals:
        for query, code, pointers in WRONG_LISTS:
            refusals.check(query[:40], await customer.http.get(f"{WORKLOADS}?{query}"), 422, code, *pointers)


WRONG_QUESTIONS: list[Any] = [
    ("/api/v1/grid/signals?kind=price", ["/zone"]),
    ("/api/v1/grid/signals?zone=FR&kind=colour", ["/kind"]),
    ("/api/v1/grid/signals?zone=%00&kind=price", ["/zone"]),
    ("/api/v1/offers?gpus=0", ["/gpus"]),
    ("/api/v1/offers?vram_mib=-1", ["/vram_mib"]),
    ("/api/v1/offers?zone=%00", ["/zone"]),
    ("/api/v1/charges?workload_id=zz", ["/workload_id"]),
    ("/api/v1/ledger/entries?reference=1", ["/reference"]),
]


async def test_a_question_asked_wrongly(api, customer):
    async with Refusals(api) as refusals:
        for path, pointers in WRONG_QUESTIONS:
            answer = await customer.http.get(path)
            refusals.check(path, answer, 422, answer.json()["code"], *pointers)


async def test_a_foreign_cursor_of_the_ledger_is_refused(customer):
    answer = await customer.http.get("/api/v1/ledger/entries?cursor=" + "_" * 21 + "w")
    assert answer.status_code == 422


async def test_a_position_in_the_logs_that_no_answer_gave(api, customer):
    workload_id = await api.submit(customer)
    for after in ("", "1", "1.", ".1", "a.b", "-1.0", "1.1.1", "٣.٣", "9" * 5000, "1." + "9" * 5000, "9999999999.1"):
        answer = await customer.http.get(f"{WORKLOADS}/{workload_id}/logs", params={"after": after})
        check_problem(answer, 422, "invalid", "/after")


async def test_a_path_that_is_not_there(api, customer):
    for path in ("/nope", "/api/v1/nope", "/api/v2/workloads", "/", "//", "/api/v1/workloads/not-an-id", "/%00"):
        for client in (customer.http, api.client()):
            assert check_problem(await client.get(path), 404, "not_found")["instance"]


async def test_a_method_that_a_path_does_not_have(api, customer):
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "BREW"):
        answer = await customer.http.request(method, WORKLOADS)
        check_problem(answer, 405, "method_not_allowed")
        assert {"GET", "POST"} <= set(answer.headers["allow"].replace(",", " ").split())


async def test_answers_to_head_have_no_body(api, customer):
    for client, path in ((customer.http, "/nope"), (customer.http, WORKLOADS), (api.client("bad"), WORKLOADS)):
        answer = await client.head(path)
        assert answer.status_code >= 400 and answer.content == b"" and answer.headers["x-request-id"]


async def test_the_request_id_is_the_clients_when_it_gave_a_sane_one(api, customer):
    given = await customer.http.get("/nope", headers={"X-Request-Id": "trace-0123456789"})
    assert given.headers["x-request-id"] == check_problem(given, 404, "not_found")["request_id"] == "trace-0123456789"
    for bad in ("short", "x" * 65, "with space in it", '{"a":1}aaaaaaa'):
        answer = await customer.http.get("/nope", headers={"X-Request-Id": bad})
        assert check_problem(answer, 404, "not_found")["request_id"] != bad


async def test_an_authorization_that_is_no_bearer_key(api):
    for value in ("Basic abc", "Bearer", "Bearer ", "gridbroker_key_x"):
        answer = await api.client().get("/api/v1/whoami", headers={"Authorization": value})
        check_problem(answer, 400, "malformed_request")


async def test_a_key_that_is_none(api):
    z = "Z" * 59
    for secret in ("x", f"gridbroker_\0_ABCDEFGH_{z}", "ü" * 10, f"gridbroker_key_ABCDEFGH_{z}", "x" * 9000):
        answer = await api.client().get("/api/v1/whoami", headers={"Authorization": f"Bearer {secret}".encode("latin-1")})
        check_problem(answer, 401, "unauthenticated")


async def test_an_id_that_nobody_has(customer):
    for path in ("{}", "{}/decisions", "{}/placements", "{}/events", "{}/logs"):
        check_problem(await customer.http.get(f"{WORKLOADS}/{path.format(uuid4())}"), 404, "not_found")


WRONG_KEYS: list[Any] = [
    ({"name": "a\0b"}, 422, "invalid", "/name"),
    ({"name": " x"}, 422, "invalid", "/name"),
    ({"name": "a\nb"}, 422, "invalid", "/name"),
    ({"name": "x" * 101}, 422, "invalid", "/name"),
    ({"role": "god"}, 422, "invalid", "/role"),
    ({"scopes": []}, 422, "invalid", "/scopes"),
    ({"scopes": ["all"]}, 422, "invalid", "/scopes/0"),
    ({"expires_in_days": 0}, 422, "invalid", "/expires_in_days"),
    ({"expires_in_days": 10**9}, 422, "invalid", "/expires_in_days"),
    ({"org_id": "x"}, 422, "invalid", "/org_id"),
    ({"org_id": str(uuid4())}, 404, "not_found", "/org_id"),
    ({"role": "admin"}, 403, "not_yours_to_give", "/role"),
]


async def test_a_key_that_cannot_be_made(api, customer):
    async with Refusals(api) as refusals:
        for changes, status, code, pointer in WRONG_KEYS:
            body = {"name": "k", "role": "developer"} | changes
            refusals.check(changes, await post(customer.http, "/api/v1/keys", body), status, code, pointer)


WRONG_ORGANISATIONS: list[Any] = [
    ({"name": "a\0"}, "/name"),
    ({"home_zone": "XX"}, "/home_zone"),
    ({"kind": "bank"}, "/kind"),
    ({"id": 1}, "/id"),
]


async def test_an_organisation_that_cannot_be_made(api):
    admin = api.client(await api.key(await api.organisation(OrganisationKind.PLATFORM), Role.ADMIN))
    async with Refusals(api) as refusals:
        for changes, pointer in WRONG_ORGANISATIONS:
            body = {"name": "New", "kind": "developer"} | changes
            refusals.check(changes, await post(admin, "/api/v1/organisations", body), 422, "invalid", pointer)


async def test_a_name_that_is_taken(api):
    admin = api.client(await api.key(await api.organisation(OrganisationKind.PLATFORM), Role.ADMIN))
    body = {"name": "Taken", "kind": "developer"}
    assert (await post(admin, "/api/v1/organisations", body)).status_code == 201
    await refused(api, post(admin, "/api/v1/organisations", body), 409, "name_taken")


async def test_more_than_the_wallet_holds(api):
    poor = await api.developer(euros=None)
    await refused(api, post(poor.http, WORKLOADS, WORKLOAD), 402, "insufficient_funds")


HUGE = 2**63 - 1
NOON = "2026-03-20T12:00:00Z"
BEAT = {"sent_at": NOON, "gpus": [{"index": 0, "utilisation": 0.5, "power_w": 300.0}]}
SAMPLE = {
    "seq": 1,
    "gpu_index": 0,
    "at": "2026-03-20T12:00:00Z",
    "energy_mj": 1,
    "power_w": 1.0,
    "utilisation": 0.5,
    "kind": "measured",
}


def samples(**changes: Any) -> dict[str, Any]:
    return {"boot_id": "b", "samples": [SAMPLE | changes]}


WRONG_NEWS: list[Any] = [
    ("heartbeat", BEAT | {"sent_at": "noon"}),
    ("heartbeat", BEAT | {"sent_at": "0001-01-01T00:00:00+14:00"}),
    ("heartbeat", BEAT | {"sent_at": "2026-03-20T12:00:00"}),
    ("heartbeat", BEAT | {"spool_backlog": HUGE}),
    ("heartbeat", BEAT | {"spool_backlog": -1}),
    ("heartbeat", {"sent_at": "2026-03-20T12:00:00Z", "gpus": [{"index": HUGE, "utilisation": 9.0, "power_w": -1.0}]}),
    ("samples", samples(seq=0)),
    ("samples", samples(seq=2**70)),
    ("samples", samples(energy_mj=-1)),
    ("samples", samples(gpu_index=2)),
    ("samples", samples(power_w=1e30)),
    ("samples", samples(utilisation=2.0)),
    ("samples", samples(at="2026-03-20T13:00:00Z")),
    ("samples", samples() | {"boot_id": "a\0"}),
    ("samples", samples() | {"boot_id": ""}),
    ("samples", {"boot_id": "b", "samples": [SAMPLE] * 1001}),
]


async def test_an_agent_that_says_what_cannot_be(api):
    agent = (await api.provider()).agent
    async with Refusals(api) as refusals:
        for path, body in WRONG_NEWS:
            answer = await agent.post(f"/api/v1/nodes/self/{path}", json=body)
            refusals.check(body, answer, min(answer.status_code, 499), None)


async def test_an_agent_whose_clock_is_at_the_end_of_time(api):
    agent = (await api.provider()).agent
    for at in ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"):
        check_problem(await agent.post("/api/v1/nodes/self/samples", json=samples(at=at)), 422, "invalid_samples")


WRONG_REPORTS: list[Any] = [
    ("reports", {"seq": 2**70, "kind": "running"}),
    ("reports", {"seq": HUGE, "kind": "exited", "exit_code": HUGE}),
    ("reports", {"seq": 1, "kind": "progress", "step": -1}),
    ("reports", {"seq": 1, "kind": "progress", "step": 1, "total_steps": 2**80}),
    ("reports", {"seq": 1, "kind": "running", "at": "2026-03-20T13:30:00Z"}),
    ("logs", {"lines": [{"seq": 2**70, "at": "2026-03-20T12:00:00Z", "stream": "stdout", "text": "x"}]}),
    ("logs", {"lines": [{"seq": HUGE + 1, "at": "2026-03-20T12:00:00Z", "stream": "stdout", "text": "x"}]}),
    ("logs", {"lines": [{"seq": 1, "at": "2026-03-20T12:00:00Z", "stream": "sideways", "text": "x"}]}),
    ("checkpoints", {"step": 2**70, "files": [], "manifest_sha256": ""}),
    ("checkpoints", {"step": 1, "files": [{"path": "../up", "bytes": 1, "sha256": "x"}], "manifest_sha256": ""}),
    ("checkpoints", {"step": 1, "files": [{"path": "a", "bytes": 1, "sha256": "x"}], "manifest_sha256": ""}),
]


async def test_an_agent_that_reports_what_cannot_be(api):
    await api.refresh_grid()
    customer, provider = await api.developer(), await api.provider()
    await api.submit(customer)
    [order] = (await provider.agent.get("/api/v1/nodes/self/orders")).json()["orders"]
    held = f"/api/v1/nodes/self/placements/{order['placement_id']}"
    async with Refusals(api) as refusals:
        for path, body in WRONG_REPORTS:
            at = {"at": "2026-03-20T12:00:00Z"} if path == "reports" else {}
            answer = await provider.agent.post(f"{held}/{path}", json={"epoch": order["epoch"]} | at | body)
            refusals.check(body, answer, min(answer.status_code, 499), None)


async def test_a_blob_under_a_wrong_name(api):
    await api.refresh_grid()
    customer, provider = await api.developer(), await api.provider()
    await api.submit(customer)
    [order] = (await provider.agent.get("/api/v1/nodes/self/orders")).json()["orders"]
    blobs = f"/api/v1/nodes/self/placements/{order['placement_id']}/blobs"
    check_problem(await provider.agent.put(f"{blobs}/{'0' * 64}", content=b"x"), 422, "hash_mismatch", "/sha256")
    for name in ("A" * 64, "0" * 63, "..%2F..%2Fetc", "%00"):
        answer = await provider.agent.put(f"{blobs}/{name}", content=b"x", headers=JSON)
        assert answer.status_code in (404, 422), name
    assert not [path for path in api.ports.settings.blob_dir.rglob("*") if path.is_file()]
    check_problem(await provider.agent.get(f"{blobs}/{'0' * 64}"), 404, "not_found")


async def test_many_bad_requests_at_once_leave_the_pool_whole(api, customer):
    await asyncio.gather(*[post(customer.http, WORKLOADS, WORKLOAD | {"gpus": 0}) for _ in range(30)])
    await asyncio.gather(*[post(customer.http, "/api/v1/keys", {"name": "\0", "role": "developer"}) for _ in range(30)])
    assert (await customer.http.get(WORKLOADS)).status_code == 200
