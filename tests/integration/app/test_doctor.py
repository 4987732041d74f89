"""`gridbroker doctor` says what is wrong, and what to do."""

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gridbroker.app.doctor import Check, check_clock, check_nvml, check_python, examine, is_healthy
from gridbroker.app.embedded.ports import free_port
from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.core.settings import Settings

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


def look(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in examine(settings, now=NOW)}


def test_a_good_machine(tmp_path: Path):
    checks = look(Settings(data_dir=tmp_path, api_port=free_port()))
    assert list(checks) == ["python", "clock", "data_dir", "port", "postgres", "redis", "nvml"]
    assert is_healthy(list(checks.values()))
    assert all(check.hint == "" for check in checks.values() if check.ok)


def test_every_fault_is_named_with_what_to_do(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        port = squatter.getsockname()[1]
        settings = Settings(
            data_dir=tmp_path / "file",
            api_port=port,
            postgres_bin=tmp_path,
            valkey_bin=tmp_path,
        )
        checks = look(settings)
    assert {name for name, check in checks.items() if not check.ok} - {"nvml"} == {"data_dir", "port", "postgres", "redis"}
    assert all(check.hint for check in checks.values() if not check.ok)
    assert not is_healthy(list(checks.values()))


def test_servers_that_do_not_answer(tmp_path: Path):
    port = free_port()
    settings = Settings(
        data_dir=tmp_path,
        api_port=free_port(),
        database_url=f"postgresql://gridbroker:hidden@127.0.0.1:{port}/gridbroker",
        redis_url=f"redis://:hidden@127.0.0.1:{port}/0",
    )
    checks = look(settings)
    assert not checks["postgres"].ok
    assert not checks["redis"].ok
    assert "hidden" not in repr(checks)


def test_the_schema_is_looked_at(postgres: EmbeddedPostgres, database_name: str, tmp_path: Path):
    migrated = look(Settings(data_dir=tmp_path, database_url=postgres.database_urls(database_name).owner))["postgres"]
    assert migrated.ok, migrated
    locked_out = look(Settings(data_dir=tmp_path, database_url=f"postgresql://nobody:hidden@127.0.0.1:{postgres.port}/x"))[
        "postgres"
    ]
    assert not locked_out.ok
    assert "hidden" not in repr(locked_out)
    empty = look(Settings(data_dir=tmp_path, database_url=postgres.admin_url))["postgres"]
    assert not empty.ok
    assert "gridbroker db upgrade" in empty.hint


@pytest.mark.parametrize(("version", "ok"), [((3, 10), False), ((3, 11), True), ((3, 14), True)])
def test_python(version: tuple[int, int], ok: bool):
    assert check_python(version).ok is ok


def test_a_clock_from_1970():
    assert not check_clock(datetime(1970, 1, 1, tzinfo=UTC)).ok


def test_no_gpu_is_no_fault():
    check = check_nvml("libno-such-thing.so.1")
    assert not check.ok
    assert not check.required
    assert is_healthy([check])
