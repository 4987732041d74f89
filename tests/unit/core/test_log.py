"""Logs never show a key, a token or the password in a URL, however deep it hides."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gridbroker.core import log
from gridbroker.core.log import MASK, hide_secrets, mask
from gridbroker.core.secret import new_secret

SECRET = new_secret("key")
PASSWORD = "p4ss/w%40rd"
DSN = f"postgresql+asyncpg://app:{PASSWORD}@db.example:5432/gridbroker"
REDIS = f"redis://:{PASSWORD}@cache:6379/0"


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was logged, with structlog's and the standard library's set-up put back afterwards."""
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)


@given(st.text(max_size=40), st.sampled_from(["key", "node", "join"]), st.text(max_size=40))
def test_no_part_of_a_key_survives(before, kind, after):
    secret = new_secret(kind)
    shown = mask(f"{before} {secret} {after}")
    assert secret.rpartition("_")[2] not in shown and MASK in shown


@pytest.mark.parametrize("url", [DSN, REDIS, f"see {DSN} and {REDIS}", f"connect({DSN!r})"])
def test_no_password_of_a_url_survives(url):
    assert PASSWORD not in mask(url)


@pytest.mark.parametrize(
    "text",
    ["https://broker.example/docs?at=1", "gridbroker_http_request_duration_seconds", "a@b.example", "http://host:80/path", "12:30"],
)
def test_what_is_no_secret_stays(text):
    assert mask(text) == text


@pytest.mark.parametrize(
    "name", ["secret", "Authorization", "api_key", "apikey", "node_token", "database_url", "private_key", "password"]
)
def test_values_are_hidden_by_their_name(name):
    assert hide_secrets(None, "info", {name: "anything"}) == {name: MASK}


def test_values_are_hidden_at_any_depth():
    class Holder:
        def __repr__(self) -> str:
            return f"Holder({SECRET})"

    event = {"event": SECRET, "a": {"b": [DSN, (REDIS,)], "token": "x"}, "c": {SECRET}, "d": Holder(), "e": ValueError(DSN), "n": 3}
    shown = repr(hide_secrets(None, "info", event))
    assert SECRET.rpartition("_")[2] not in shown and PASSWORD not in shown and "'x'" not in shown
    assert "'n': 3" in shown


def failing_connect() -> None:
    raise ConnectionError(f"cannot reach {DSN} with {SECRET}")


@pytest.mark.parametrize("as_json", [True, False])
def test_neither_log_shows_one_not_even_in_a_traceback(stderr, as_json):
    log.configure("info", json=as_json)
    try:
        failing_connect()
    except ConnectionError:
        structlog.get_logger().error("failed", dsn=DSN, tries=[SECRET], exc_info=True)
        logging.getLogger("asyncpg").exception("failed at %s", DSN)
    logging.getLogger("x").warning("with %s", SECRET)
    shown = stderr()
    assert "ConnectionError" in shown and "failing_connect" in shown and MASK in shown
    assert PASSWORD not in shown and SECRET.rpartition("_")[2] not in shown


def test_json_logs_are_one_object_per_line_with_level_and_time(stderr):
    log.configure("info", json=True)
    structlog.get_logger().info("started", port=8000)
    structlog.get_logger().debug("unseen")
    logging.getLogger("x").warning("standard")
    lines = [json.loads(line) for line in stderr().splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("started", "info"), ("standard", "warning")]
    assert lines[0]["port"] == 8000 and all(line["timestamp"].endswith("Z") for line in lines)


def test_an_unknown_level_is_refused(stderr):
    with pytest.raises(ValueError, match="loud"):
        log.configure("loud")
