"""The embedded Valkey under the accidents that happen to it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gridbroker.app.embedded.valkey import EmbeddedValkey
from gridbroker.app.lockfile import DataDirInUse


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    started = EmbeddedValkey.start(tmp_path / "a folder")
    yield started
    started.stop()


def count(server: EmbeddedValkey) -> int:
    with redis.Redis.from_url(server.url) as client:
        return client.incr("count")  # pyright: ignore[reportReturnType]


def test_keys_survive_a_killed_server_and_a_clean_stop(server: EmbeddedValkey):
    assert count(server) == 1
    url = server.url
    server.process.kill()
    server.restart()
    assert server.url == url
    assert count(server) == 2
    server.stop()
    again = EmbeddedValkey.start(server.folder)
    try:
        assert count(again) == 3
    finally:
        again.stop()


def test_nobody_without_the_password_gets_in(server: EmbeddedValkey):
    for url in (f"redis://127.0.0.1:{server.port}/0", f"redis://:wrong@127.0.0.1:{server.port}/0"):
        with redis.Redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
            client.get("count")
    assert (server.folder / "passwords.json").stat().st_mode & 0o777 == 0o600
    arguments = Path(f"/proc/{server.process.pid}/cmdline").read_text()
    assert server._password not in arguments


def test_a_second_start_on_the_folder_is_refused(server: EmbeddedValkey):
    with pytest.raises(DataDirInUse, match=str(os.getpid())):
        EmbeddedValkey.start(server.folder)


def test_an_orphan_that_still_runs_is_replaced(server: EmbeddedValkey):
    count(server)
    server._lock.release()  # what the kernel does when a supervisor dies
    heir = EmbeddedValkey.start(server.folder)
    try:
        assert server.process.wait(5) == 0, "asked to end, not killed"
        assert count(heir) == 2
    finally:
        heir.stop()
