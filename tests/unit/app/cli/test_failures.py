"""What failing commands exit with and say."""

from collections.abc import Callable

import pytest

from gridbroker.app.cli.exits import Exit, exit_of
from gridbroker.app.lockfile import DataDirInUse
from gridbroker.app.migrate import SchemaTooNew
from gridbroker.app.preflight import DataDirUnwritable, PortInUse, PortUnusable
from gridbroker.app.stack import StartFailed
from tests.unit.app.cli.conftest import KEY, Broker


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 7), (401, 4), (402, 8), (403, 4), (404, 3), (409, 5), (413, 7), (415, 7), (422, 7), (429, 6), (500, 1), (503, 6)],
)
def test_a_refusal_exits_with_what_its_status_means(cli: Callable, broker: Broker, status: int, code: int):
    broker.headers["Retry-After"] = "0"
    broker.refuses(status)
    assert cli("whoami").code == code
    said = cli("whoami", "--json")
    assert (said.code, said.json["code"], said.json["status"], said.err) == (code, "some_code", status, "")


@pytest.mark.parametrize(
    ("error", "code"),
    [(DataDirInUse, 10), (PortInUse, 11), (DataDirUnwritable, 12), (SchemaTooNew, 13), (StartFailed, 14), (PortUnusable, 14)],
)
def test_start_errors_have_codes_of_their_own(error: type, code: int):
    assert exit_of(error.code, error.status) == code


def test_a_server_out_of_reach_is_to_be_tried_later(offline: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRIDBROKER_API_KEY", KEY)
    said = offline("whoami", "--url", "http://127.0.0.1:1")
    assert said.code == Exit.TRY_LATER and "gridbroker up" in said.err
    assert offline("whoami", "--url", "http://127.0.0.1:1", "--json").json["code"] == "unreachable"


def test_all_that_helps_is_said_on_stderr(cli: Callable, broker: Broker):
    broker.refuses(422, "invalid", errors=[{"pointer": "/budget/currency", "detail": "not one of EUR"}], reasons={"vram": 3})
    said = cli("plan", "--name", "x", "--budget", "1", "--currency", "XYZ", "--", "true")
    assert said.out == ""
    for part in ("Title", "Detail.", "/budget/currency: not one of EUR", "vram: 3", "request-1", "Next: "):
        assert part in said.err


@pytest.mark.parametrize("arguments", [("whoami",), ("whoami", "--json"), ("workloads", "list"), ("nodes", "list", "--json")])
@pytest.mark.parametrize("status", [401, 422, 500])
def test_the_key_is_in_no_output(cli: Callable, broker: Broker, arguments: tuple[str, ...], status: int):
    broker.refuses(status)
    said = cli(*arguments)
    assert KEY not in said.out + said.err
    assert broker.requests[0][2]["Authorization"] == f"Bearer {KEY}"


def test_a_key_that_cannot_be_one_is_refused_without_showing_it(offline: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRIDBROKER_API_KEY", "two words")
    said = offline("whoami")
    assert said.code == 7 and "two words" not in said.err


def test_json_after_the_double_dash_is_the_workloads(cli: Callable, broker: Broker):
    broker.refuses(422)
    said = cli("plan", "--name", "x", "--budget", "1", "--", "train", "--json")
    assert said.out == "" and "Title" in said.err


def test_a_password_in_an_address_is_not_shown(offline: Callable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRIDBROKER_DATABASE_URL", "postgresql://owner:hunter2@127.0.0.1:1/gridbroker")
    said = offline("db", "revision")
    assert said.code == Exit.TRY_LATER and "hunter2" not in said.out + said.err


def test_db_needs_a_database_of_its_own(offline: Callable):
    said = offline("db", "check", "--json")
    assert said.code == Exit.INVALID and said.json["code"] == "no_database"


def test_an_agent_without_a_server_says_what_is_missing(offline: Callable):
    said = offline("agent", "--json")
    assert said.code == Exit.INVALID and "SERVER_URL" in said.json["detail"]
