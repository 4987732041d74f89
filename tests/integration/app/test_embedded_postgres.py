"""The embedded PostgreSQL under the accidents that happen to it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gridbroker.app.embedded import process as processes
from gridbroker.app.embedded.cluster import ClusterFailed
from gridbroker.app.embedded.ports import free_port
from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.app.lockfile import DataDirInUse

START_AND_HANG = """
import sys, time
from pathlib import Path
from gridbroker.app.embedded.postgres import EmbeddedPostgres
server = EmbeddedPostgres.start(Path(sys.argv[1]))
print(server.process.pid, server.owner_url, flush=True)
time.sleep(600)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    started = EmbeddedPostgres.start(tmp_path / "pg", fsync=False)
    yield started
    started.stop()


def ask(url: str, *statements: str) -> Any:
    """Run statements; the last one's first value."""

    async def run() -> Any:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(run())


def test_three_roles_without_power_and_one_database(server: EmbeddedPostgres):
    for url, role in ((server.owner_url, "owner"), (server.app_url, "app"), (server.system_url, "system")):
        assert ask(url, "select current_user") == f"gridbroker_{role}"
    powers = "rolsuper or rolbypassrls or rolcreaterole or rolcreatedb"
    assert ask(server.admin_url, f"select count(*) from pg_roles where rolname like 'gridbroker%' and ({powers})") == 0
    owner = "select pg_get_userbyid(datdba) from pg_database where datname = 'gridbroker'"
    assert ask(server.owner_url, owner) == "gridbroker_owner"
    assert ask(server.owner_url, "select count(*) from pg_extension where extname = 'btree_gist'") == 1
    assert ask(server.owner_url, "show data_checksums") == "on"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        ask(server.app_url, "create table intruder (i int)", "select 1")


def test_a_wrong_password_is_refused(server: EmbeddedPostgres):
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(f"postgresql://gridbroker_owner:wrong@127.0.0.1:{server.port}/gridbroker", "select 1")


def test_secrets_and_logs_are_for_this_user_only(server: EmbeddedPostgres):
    assert [(server.folder / name).stat().st_mode & 0o777 for name in ("passwords.json", "postgres.log")] == [0o600, 0o600]
    assert server.cluster.stat().st_mode & 0o077 == 0


def test_committed_rows_survive_a_killed_server(tmp_path: Path):
    server = EmbeddedPostgres.start(tmp_path / "pg")
    try:
        ask(server.owner_url, "create table kept (i int)", "insert into kept values (1), (2) returning i")
        url = server.owner_url
        server.process.kill()
        server.restart()
        assert server.owner_url == url, "clients keep their address"
        assert ask(url, "select count(*) from kept") == 2
    finally:
        server.stop()
    server = EmbeddedPostgres.start(tmp_path / "pg")
    try:
        assert ask(server.owner_url, "select count(*) from kept") == 2
    finally:
        server.stop()


def test_a_second_start_on_the_folder_is_refused(server: EmbeddedPostgres):
    with pytest.raises(DataDirInUse, match=str(os.getpid())):
        EmbeddedPostgres.start(server.folder)
    assert ask(server.owner_url, "select 1") == 1


def test_everything_killed_leaves_a_folder_that_starts(tmp_path: Path):
    supervisor = subprocess.Popen(
        [sys.executable, "-c", START_AND_HANG, str(tmp_path / "pg")], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with supervisor:
        assert supervisor.stdout is not None
        pid, url = supervisor.stdout.readline().split()
        ask(url, "create table kept (i int)", "insert into kept values (1) returning i")
        supervisor.kill()
        os.kill(int(pid), signal.SIGKILL)
    assert (tmp_path / "pg/cluster/postmaster.pid").exists(), "the stale file is what this is about"
    server = EmbeddedPostgres.start(tmp_path / "pg")
    try:
        assert ask(server.owner_url, "select count(*) from kept") == 1
    finally:
        server.stop()


def test_a_server_ends_with_its_killed_supervisor(tmp_path: Path):
    supervisor = subprocess.Popen(
        [sys.executable, "-c", START_AND_HANG, str(tmp_path / "pg")], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline().split()[0])
        supervisor.kill()
    assert processes.wait_until(lambda: not processes.command_line(pid), 10)


def test_an_orphan_that_still_runs_is_replaced(server: EmbeddedPostgres):
    ask(server.owner_url, "create table kept (i int)", "insert into kept values (1) returning i")
    server._lock.release()  # what the kernel does when a supervisor dies
    heir = EmbeddedPostgres.start(server.folder, fsync=False)
    try:
        assert server.process.wait(5) == 0, "asked to end, not killed"
        assert ask(heir.owner_url, "select count(*) from kept") == 1
    finally:
        heir.stop()


def test_a_stale_pid_that_belongs_to_another_program_now(server: EmbeddedPostgres):
    pid_file = server.cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    again = EmbeddedPostgres.start(server.folder, fsync=False)
    try:
        assert ask(again.owner_url, "select 1") == 1
    finally:
        again.stop()


def test_a_killed_server_that_nobody_has_reaped(tmp_path: Path):
    server = EmbeddedPostgres.start(tmp_path / "pg", fsync=False)
    server.process.kill()
    os.waitid(os.P_PID, server.process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now, as under a container's idle first process
    server._lock.release()
    heir = EmbeddedPostgres.start(tmp_path / "pg", fsync=False)
    try:
        assert ask(heir.owner_url, "select 1") == 1
    finally:
        heir.stop()
        server.process.wait()


def test_a_set_up_that_was_interrupted_starts_over(tmp_path: Path):
    leftover = tmp_path / "pg" / "unfinished-x"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18")
    server = EmbeddedPostgres.start(tmp_path / "pg", fsync=False)
    try:
        assert ask(server.owner_url, "select 1") == 1
        assert not leftover.exists()
    finally:
        server.stop()


def test_a_port_that_is_taken_for_a_moment_is_waited_for(tmp_path: Path):
    port = free_port()
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        leaver = threading.Timer(1.0, squatter.close)
        leaver.start()
        server = EmbeddedPostgres.start(tmp_path / "pg", port=port, fsync=False)
    try:
        assert ask(server.owner_url, "select 1") == 1
    finally:
        server.stop()
        leaver.join()


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path):
    started: list[EmbeddedPostgres] = []
    thread = threading.Thread(target=lambda: started.append(EmbeddedPostgres.start(tmp_path / "pg", fsync=False)))
    thread.start()
    thread.join()
    try:
        assert ask(started[0].owner_url, "select pg_sleep(0.2) is not null")
        assert started[0].ended() is None
    finally:
        started[0].stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become nobody")
def test_nobody_who_may_not_reach_the_folder_is_told_what_to_do(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ClusterFailed, match="GRIDBROKER_DATABASE_URL"):
        EmbeddedPostgres.start(closed / "pg", fsync=False, run_as="nobody")
    assert not (closed / "pg" / "cluster").exists()
