"""The client against a scripted transport: what it sends, retries, gives up on and raises."""

import json
from collections.abc import Callable
from uuid import UUID

import httpx
import pytest
from gridbroker_sdk import ApiError, Client, Unreachable

URL = "https://broker.example"
KEY = "gridbroker_key_secret123"
ID = UUID(int=7)
Answer = httpx.Response | Exception


class Server:
    """Answers in turn; the last answer stands for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.requests, self.waits = list(answers), [], []

    def client(self, **options) -> Client:
        return Client(URL, KEY, transport=httpx.MockTransport(self._answer), sleep=self.waits.append, **options)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def ok(document: object, **headers: str) -> httpx.Response:
    return httpx.Response(200, json=document, headers=headers)


def problem(status: int, code: str = "some_code", headers: dict[str, str] | None = None, **more: object) -> httpx.Response:
    document = {"title": "T", "status": status, "detail": "D", "code": code, "request_id": "r-1"} | more
    return httpx.Response(status, json=document, headers=headers)


def test_it_sends_the_key_and_reads_json():
    server = Server(ok({"role": "developer"}))
    with server.client() as client:
        assert client.whoami() == {"role": "developer"}
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert str(server.requests[0].url) == f"{URL}/api/v1/whoami"


def test_a_post_keeps_its_idempotency_key_over_retries():
    server = Server(httpx.ConnectError("refused"), problem(503), ok({"id": "x"}))
    server.client().submit({"name": "x"})
    sent = [request.headers["idempotency-key"] for request in server.requests]
    assert len(sent) == 3 and len(set(sent)) == 1 and UUID(sent[0])
    assert json.loads(server.requests[0].content) == {"name": "x"}


def test_two_posts_have_two_keys_and_a_given_one_is_used():
    server = Server(ok({}))
    client = server.client()
    client.submit({})
    client.submit({})
    client.submit({}, idempotency_key="mine")
    first, second, third = (request.headers["idempotency-key"] for request in server.requests)
    assert first != second and third == "mine"


def test_it_waits_as_long_as_the_server_asks_but_not_for_ever():
    server = Server(problem(429, headers={"Retry-After": "7"}), problem(503, headers={"Retry-After": "9000"}), problem(503), ok({}))
    server.client().whoami()
    assert server.waits == [7, 30, 1]


@pytest.mark.parametrize("answer", [problem(429), problem(503), httpx.ReadTimeout("slow")])
def test_it_gives_up_after_so_many_retries(answer: Answer):
    server = Server(answer)
    with pytest.raises(Unreachable if isinstance(answer, Exception) else ApiError):
        server.client(max_retries=2).whoami()
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422, 500])
def test_a_refusal_is_raised_at_once(status: int):
    server = Server(problem(status, errors=[{"pointer": "/name", "detail": "too long"}], reasons={"vram": 3}))
    with pytest.raises(ApiError) as caught:
        server.client().whoami()
    found = caught.value.problem
    assert (found.status, found.code, found.request_id, len(server.requests)) == (status, "some_code", "r-1", 1)
    assert (found.errors[0].pointer, found.reasons) == ("/name", {"vram": 3})


@pytest.mark.parametrize("content", [b"<html>proxy</html>", b"", b"[]", b'{"code": 5}', b'{"error": "x"}', b"[" * 100_000])
def test_an_answer_that_is_not_ours_is_told_as_such(content: bytes):
    with pytest.raises(ApiError) as caught:
        Server(httpx.Response(404, content=content)).client().whoami()
    assert caught.value.problem.code == "not_gridbroker"


def test_a_success_that_is_not_json_is_told_as_such():
    with pytest.raises(ApiError, match="not_gridbroker"):
        Server(httpx.Response(200, content=b"<html>")).client().whoami()


def test_a_redirect_is_not_followed_with_the_key():
    server = Server(httpx.Response(302, headers={"Location": "https://elsewhere.example/"}))
    with pytest.raises(ApiError):
        server.client().whoami()
    assert len(server.requests) == 1


def test_no_text_holds_the_key():
    server = Server(problem(401))
    client = server.client()
    with pytest.raises(ApiError) as caught:
        client.whoami()
    with pytest.raises(Unreachable) as lost:
        Server(httpx.ConnectError("refused")).client(max_retries=0).whoami()
    assert all(KEY not in text for text in (repr(client), str(caught.value), repr(caught.value.problem), str(lost.value)))


@pytest.mark.parametrize("url", ["", "broker", "ftp://x", "https://", "https://u:p@x", "https://x?a=b", "https://x#y"])
def test_it_refuses_what_is_no_address(url: str):
    with pytest.raises(ValueError, match=r"address|must end"):
        Client(url, KEY)


@pytest.mark.parametrize("key", ["", "two words", "schl\u00fcssel", "line\nbreak"])
def test_it_refuses_what_is_no_key_without_repeating_it(key: str):
    with pytest.raises(ValueError, match="one word") as caught:
        Client(URL, key)
    assert not key or key not in str(caught.value)


def _pages(total: int) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        start, limit = int(request.url.params.get("cursor", "0")), int(request.url.params["limit"])
        data = [{"n": number} for number in range(start, min(total, start + limit))]
        return ok({"data": data, "next_cursor": str(start + limit) if start + limit < total else None})

    return answer


@pytest.mark.parametrize(("total", "limit"), [(0, 50), (50, 50), (51, 50), (450, 450), (450, 449), (450, 1000)])
def test_a_listing_takes_what_was_asked_for_and_says_when_there_is_more(total: int, limit: int):
    client = Client(URL, KEY, transport=httpx.MockTransport(_pages(total)))
    found = client.listing("/api/v1/workloads", limit=limit)
    assert [entry["n"] for entry in found.data] == list(range(min(total, limit)))
    assert found.truncated == (total > limit)


def test_parameters_that_are_none_are_not_sent():
    server = Server(ok({"data": []}))
    server.client().offers(gpu_model=None, gpus=2)
    assert dict(server.requests[0].url.params) == {"gpus": "2"}


def test_an_id_is_one_segment_of_the_path():
    server = Server(ok({}))
    server.client().workload("../keys?x=1")
    assert server.requests[0].url.raw_path == b"/api/v1/workloads/..%2Fkeys%3Fx%3D1"
    with pytest.raises(ValueError, match="not an id"):
        server.client().workload("..")


def test_watching_ends_with_the_workload():
    server = Server(ok({"state": "starting"}), ok({"state": "running"}), ok({"state": "completed"}))
    assert [view["state"] for view in server.client().watch(ID, poll_s=3)] == ["starting", "running", "completed"]
    assert server.waits == [3, 3]


def test_logs_are_followed_from_page_to_page_until_the_end():
    full = [{"text": "x"}] * 1000
    server = Server(
        ok({"data": full, "next": "1.1000", "ended": False}),
        ok({"data": full[:1], "next": "1.1001", "ended": False}),
        ok({"data": full[:2], "next": "1.1003", "ended": True}),
    )
    assert [len(page["data"]) for page in server.client().log_pages(ID, follow=True)] == [1000, 1, 2]
    assert [request.url.params["after"] for request in server.requests] == ["0.0", "1.1000", "1.1001"]
    assert server.waits == [1]


def test_logs_without_following_stop_at_what_there_is():
    server = Server(ok({"data": [{"text": "x"}], "next": "1.1", "ended": False}))
    assert len(list(server.client().log_pages(ID))) == 1


def test_an_empty_answer_is_none():
    assert Server(httpx.Response(204)).client().revoke_key(ID) is None


def test_the_clock_factor_is_the_last_answers():
    server = Server(ok({}, **{"X-Clock-Factor": "60"}), ok({}))
    client = server.client()
    assert client.clock_factor == 1
    client.whoami()
    assert client.clock_factor == 60
    client.whoami()
    assert client.clock_factor == 1
