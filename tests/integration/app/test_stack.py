"""The stack supervisor with real servers and small stand-in programs."""

import asyncio
import http.client
import os
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
import redis

from gridbroker.app.embedded import process as processes
from gridbroker.app.embedded.ports import free_port
from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.app.embedded.valkey import EmbeddedValkey
from gridbroker.app.lockfile import DataDirInUse
from gridbroker.app.migrate import SchemaTooNew
from gridbroker.app.preflight import DataDirUnwritable, PortInUse, PortUnusable, require_free_port
from gridbroker.app.stack import Stack, StartFailed
from gridbroker.app.supervisor import StackEvent
from gridbroker.core.settings import Settings

API = """
import os, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404); self.end_headers()
    def log_message(self, *arguments): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["GRIDBROKER_API_PORT"])), Handler).serve_forever()
"""
HELPED_API = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
import signal; signal.pause()
"""
IDLE = "import signal; signal.pause()"
COMMANDS = {
    "api": (sys.executable, "-c", API),
    "worker": (sys.executable, "-c", IDLE),
    "scheduler": (sys.executable, "-c", IDLE),
}
SUPERVISE = """
import sys
from pathlib import Path
from gridbroker.app.stack import Stack
from gridbroker.core.settings import Settings
stack = Stack.start(Settings(data_dir=Path(sys.argv[1]), api_port=int(sys.argv[3])), commands=eval(sys.argv[2]))
print(stack.settings.database_url, *stack.processes.values(), flush=True)
print(stack.wait().name, flush=True)
stack.stop()
"""


class Reports:
    def __init__(self) -> None:
        self._events: queue.Queue[StackEvent] = queue.Queue()
        self.hear: Callable[[StackEvent], None] = self._events.put

    def next(self) -> tuple[str, str]:
        event = self._events.get(timeout=20)
        return event.kind, event.name


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def stack(tmp_path: Path, reports: Reports) -> Iterator[Stack]:
    with start(tmp_path, reports) as started:
        yield started


def start(folder: Path, reports: Reports, **options: object) -> Stack:
    settings = Settings(data_dir=folder, api_port=0)
    return Stack.start(settings, **({"commands": COMMANDS, "on_event": reports.hear} | options))  # pyright: ignore[reportArgumentType]


def ask(url: str | None, statement: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


def is_alive(pid: int) -> bool:
    return bool(processes.command_line(pid))


def test_everything_runs_and_everything_ends(tmp_path: Path, reports: Reports):
    with start(tmp_path, reports, workers=2) as stack:
        pids = stack.processes
        assert list(pids) == ["postgres", "valkey", "api", "worker", "worker-2", "scheduler"]
        assert all(is_alive(pid) for pid in pids.values())
        niceness = {name: os.getpriority(os.PRIO_PROCESS, pids[name]) - os.getpriority(os.PRIO_PROCESS, 0) for name in pids}
        assert [name for name, value in niceness.items() if value] == ["worker", "worker-2", "scheduler"]
        assert ask(stack.settings.database_url, "select count(*) from alembic_version") == 1, "migrated"
        with redis.Redis.from_url(stack.settings.redis_url or "") as client:
            assert client.ping()
    assert not any(is_alive(pid) for pid in pids.values())
    stack.stop()


def test_a_second_start_on_the_folder_is_refused(stack: Stack, reports: Reports):
    with pytest.raises(DataDirInUse, match=str(os.getpid())) as refused:
        start(stack.settings.data_dir, reports)
    assert refused.value.code == "data_dir_in_use"
    assert all(is_alive(pid) for pid in stack.processes.values())


def test_a_program_that_dies_is_started_again(stack: Stack, reports: Reports):
    before = stack.processes
    os.kill(before["worker"], signal.SIGKILL)
    assert [reports.next(), reports.next()] == [("ended", "worker"), ("restarted", "worker")]
    after = stack.processes
    assert {name for name in after if after[name] != before[name]} == {"worker"}
    assert is_alive(after["worker"])


def test_servers_that_die_come_back_where_they_were_with_what_they_held(stack: Stack, reports: Reports):
    ask(stack.settings.database_url, "create table kept as select 1 as i")
    with redis.Redis.from_url(stack.settings.redis_url or "") as client:
        client.set("kept", "1")
    for name in ("postgres", "valkey"):
        os.kill(stack.processes[name], signal.SIGKILL)
        assert [reports.next(), reports.next()] == [("ended", name), ("restarted", name)]
    assert ask(stack.settings.database_url, "select count(*) from kept") == 1
    with redis.Redis.from_url(stack.settings.redis_url or "") as client:
        assert client.get("kept") == b"1"


def test_what_a_killed_program_had_started_goes_with_it(tmp_path: Path, reports: Reports):
    commands = {"api": (sys.executable, "-c", HELPED_API, API)}
    with start(tmp_path, reports, commands=commands) as stack:
        os.kill(stack.processes["api"], signal.SIGKILL)
        assert [reports.next(), reports.next()] == [("ended", "api"), ("restarted", "api")]
        assert processes.wait_until(lambda: answers(stack), 20), "the port was free again"
        assert (stack.settings.data_dir / "logs/api.log").read_text() == ""


def answers(stack: Stack) -> bool:
    connection = http.client.HTTPConnection(stack.settings.api_host, stack.settings.api_port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_a_program_that_cannot_start_is_shown_with_its_log(tmp_path: Path, reports: Reports):
    commands = COMMANDS | {"worker": (sys.executable, "-c", "raise SystemExit('the worker lacks its hammer')")}
    with pytest.raises(StartFailed, match="worker ended with 1") as failed:
        start(tmp_path, reports, commands=commands)
    assert "the worker lacks its hammer" in failed.value.detail
    start(tmp_path, reports).stop()  # nothing was left in the way


def test_an_api_that_never_gets_ready_is_given_up(tmp_path: Path, reports: Reports):
    commands = COMMANDS | {"api": (sys.executable, "-c", API.replace('"/ready"', '"/never"'))}
    with pytest.raises(StartFailed, match="404"):
        start(tmp_path, reports, commands=commands, ready_timeout_s=0.5)


def test_a_busy_port(tmp_path: Path, reports: Reports):
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        with pytest.raises(PortInUse, match=str(port)):
            Stack.start(Settings(data_dir=tmp_path, api_port=port), commands=COMMANDS)
    with pytest.raises(PortUnusable, match="GRIDBROKER_API_HOST"):
        Stack.start(Settings(data_dir=tmp_path, api_host="192.0.2.1"), commands=COMMANDS)
    assert not (tmp_path / "postgres").exists()


def test_an_unwritable_folder(tmp_path: Path, reports: Reports):
    (tmp_path / "file").write_text("")
    folders = [tmp_path / "file" / "below"]
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        folders.append(tmp_path / "closed")
    for folder in folders:
        with pytest.raises(DataDirUnwritable, match="GRIDBROKER_DATA_DIR"):
            start(folder, reports)


def test_a_schema_from_the_future_is_left_alone(tmp_path: Path, reports: Reports):
    with start(tmp_path, reports) as stack:
        ask(stack.settings.database_url, "update alembic_version set version_num = '9999'")
    with pytest.raises(SchemaTooNew):
        start(tmp_path, reports)
    server = EmbeddedPostgres.start(tmp_path / "postgres")
    try:
        assert ask(server.owner_url, "select version_num from alembic_version") == "9999"
    finally:
        server.stop()


def test_with_servers_of_its_own_nothing_is_embedded(tmp_path: Path, reports: Reports):
    with ExitStack() as cleanup:
        postgres = EmbeddedPostgres.start(tmp_path / "pg", fsync=False)
        cleanup.callback(postgres.stop)
        valkey = EmbeddedValkey.start(tmp_path / "vk")
        cleanup.callback(valkey.stop)
        urls = postgres.database_urls("gridbroker")
        settings = Settings(
            data_dir=tmp_path / "data",
            api_port=0,
            database_url=urls.owner,
            app_database_url=urls.app,
            system_database_url=urls.system,
            redis_url=valkey.url,
        )
        with Stack.start(settings, commands=COMMANDS, on_event=reports.hear) as stack:
            assert list(stack.processes) == ["api", "worker", "scheduler"]
            assert stack.settings.redis_url == valkey.url
        assert is_alive(postgres.process.pid)
        assert is_alive(valkey.process.pid)


def supervise(folder: Path, commands: object = COMMANDS, port: int = 0) -> tuple["subprocess.Popen[str]", str, list[int]]:
    command = [sys.executable, "-c", SUPERVISE, str(folder), repr(commands), str(port)]
    supervisor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert supervisor.stdout is not None
    url, *pids = supervisor.stdout.readline().split()
    return supervisor, url, [int(pid) for pid in pids]


def catches(pid: int, number: signal.Signals) -> bool:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return bool(int(status["SigCgt"], 16) >> (number - 1) & 1)


def test_a_signal_stops_everything_in_order(tmp_path: Path):
    supervisor, _, pids = supervise(tmp_path)
    with supervisor:
        assert processes.wait_until(lambda: catches(supervisor.pid, signal.SIGTERM), 10)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline().strip() == "SIGTERM"
        assert supervisor.wait(30) == 0
    assert not any(is_alive(pid) for pid in pids)


def test_children_end_with_a_killed_supervisor_and_nothing_committed_is_lost(tmp_path: Path, reports: Reports):
    supervisor, url, pids = supervise(tmp_path)
    with supervisor:
        ask(url, "create table kept as select 1 as i")
        supervisor.kill()
    with start(tmp_path, reports) as stack:
        assert ask(stack.settings.database_url, "select count(*) from kept") == 1
        assert not any(is_alive(pid) for pid in pids)


def test_all_killed_at_once_with_a_grandchild_on_the_port(tmp_path: Path, reports: Reports):
    """The hardest: no parent-death signal reaches a grandchild, which still listens when the next start comes."""
    port = free_port()
    supervisor, _, pids = supervise(tmp_path, COMMANDS | {"api": (sys.executable, "-c", HELPED_API, API)}, port)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # so that none is restarted or told to stop before all are dead
    supervisor.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    supervisor.communicate()
    settings = Settings(data_dir=tmp_path, api_port=port)
    with pytest.raises(PortInUse):
        require_free_port("127.0.0.1", port)
    with Stack.start(settings, commands=COMMANDS, on_event=reports.hear) as stack:
        assert answers(stack)
