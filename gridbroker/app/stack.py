"""The whole product on one machine: databases, API, workers, scheduler, all children of this process."""

import dataclasses
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from types import FrameType, TracebackType
from typing import Self

import httpx

from gridbroker.app import migrate
from gridbroker.app.child import Child, end_leftovers, environment, programs, rotate
from gridbroker.app.embedded import process as processes
from gridbroker.app.embedded.ports import free_port
from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.app.embedded.valkey import EmbeddedValkey
from gridbroker.app.lockfile import FolderLock
from gridbroker.app.preflight import require_free_port, require_writable
from gridbroker.app.supervisor import Part, StackEvent, Supervisor, log_event
from gridbroker.core.errors import Unavailable
from gridbroker.core.settings import Settings

COMMANDS: Mapping[str, Sequence[str]] = {
    name: (sys.executable, "-P", "-m", "gridbroker.app.cli.main", name) for name in ("api", "worker", "scheduler")
}
STOP_ORDER = ("scheduler", "worker", "api", "valkey", "postgres")
READY_TIMEOUT_S = 60.0
READY_POLL_S = 0.05
PROBE_TIMEOUT_S = 2.0
SIGNAL_POLL_S = 0.1
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - to be reached, not listened on


class StartFailed(Unavailable):
    code, title = "start_failed", "The stack did not start"


class Stack:
    """A running stack. Its children end with it, however it ends; the next start on the folder recovers what was kept."""

    settings: Settings
    """As resolved: where the databases are, and which port was taken when 0 was asked for."""

    def __init__(self, settings: Settings, lock: FolderLock, on_event: Callable[[StackEvent], None]) -> None:
        self.settings = settings
        self._lock = lock
        self._on_event = on_event
        self._parts: list[Part] = []
        self._supervisor: Supervisor | None = None
        self._stopped = threading.Event()

    @classmethod
    def start(
        cls,
        settings: Settings,
        *,
        workers: int = 1,
        commands: Mapping[str, Sequence[str]] = COMMANDS,
        on_event: Callable[[StackEvent], None] = log_event,
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> Self:
        """Start everything and return once the API is ready. `on_event` hears, from another thread, of children that died.

        `commands` are the programs by name, with absolute paths; readiness is asked of `api` when there is one.
        Raises DataDirUnwritable, DataDirInUse, PortInUse, PortUnusable, MissingBinary, PostgresFailed, ValkeyFailed,
        SchemaTooNew, StartFailed, having stopped whatever ran by then.
        """
        data_dir = settings.data_dir.absolute()
        require_writable(data_dir)
        lock = FolderLock.acquire(data_dir)
        stack = cls(dataclasses.replace(settings, data_dir=data_dir), lock, on_event)
        try:
            end_leftovers(data_dir)
            stack._take_port()
            stack._start_servers()
            stack._migrate()
            stack._start_programs(commands, workers)
            stack._wait_until_ready("api" in commands, ready_timeout_s)
            stack._supervisor = Supervisor(stack._parts, on_event)
            stack._supervisor.start()
        except BaseException:
            stack.stop()
            raise
        return stack

    @property
    def url(self) -> str:
        """Where this machine reaches the API."""
        host = ANY_ADDRESS.get(self.settings.api_host, self.settings.api_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.api_port}"

    @property
    def processes(self) -> dict[str, int]:
        """The pid of each process by name, as of now: postgres, valkey, api, worker, worker-2, scheduler."""
        return {part.name: part.process.pid for part in self._parts}

    def wait(self) -> signal.Signals | None:
        """Block until SIGINT, SIGTERM or SIGHUP arrives, or until `stop` is called elsewhere (None).

        Signals are only listened for in the main thread; the previous handlers are put back.
        """
        received: list[int] = []

        def receive(number: int, _frame: FrameType | None) -> None:
            received.append(number)

        listens = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if listens else ()
        previous = {number: signal.signal(number, receive) for number in numbers}
        try:
            while not received and not self._stopped.is_set():
                time.sleep(SIGNAL_POLL_S)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        return signal.Signals(received[0]) if received else None

    def stop(self) -> None:
        """End everything in order, work first and databases last. Safe to call twice."""
        if self._supervisor is not None:
            self._supervisor.stop()
        for _, grouped in groupby(sorted(self._parts, key=_stop_rank), key=_stop_rank):
            group = list(grouped)
            for part in group:
                part.ask_to_stop()
            for part in group:
                part.stop()
        self._lock.release()
        self._stopped.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _take_port(self) -> None:
        host = self.settings.api_host
        port = self.settings.api_port or free_port(host)
        require_free_port(host, port)
        self.settings = dataclasses.replace(self.settings, api_port=port)

    def _start_servers(self) -> None:
        """Those that the settings do not name; the settings then name them."""
        logs, data_dir = self.settings.data_dir / "logs", self.settings.data_dir
        logs.mkdir(exist_ok=True, mode=0o700)
        if self.settings.database_url is None:
            rotate(log := logs / "postgres.log")
            postgres = EmbeddedPostgres.start(data_dir / "postgres", bin_dir=self.settings.postgres_bin, log=log)
            self._parts.append(postgres)
            self.settings = dataclasses.replace(
                self.settings,
                database_url=postgres.owner_url,
                app_database_url=postgres.app_url,
                system_database_url=postgres.system_url,
            )
        if self.settings.redis_url is None:
            rotate(log := logs / "valkey.log")
            valkey = EmbeddedValkey.start(data_dir / "valkey", bin_dir=self.settings.valkey_bin, log=log)
            self._parts.append(valkey)
            self.settings = dataclasses.replace(self.settings, redis_url=valkey.url)

    def _migrate(self) -> None:
        assert self.settings.database_url is not None, "given, or just embedded"
        # In a thread because it runs an event loop, and the caller may be in one.
        with ThreadPoolExecutor(max_workers=1) as pool:
            pool.submit(migrate.upgrade, self.settings.database_url).result()

    def _start_programs(self, commands: Mapping[str, Sequence[str]], workers: int) -> None:
        env = environment(self.settings)
        for program in programs(commands, workers):
            self._parts.append(Child(program, env, self.settings.data_dir / "logs" / f"{program.name}.log"))

    def _wait_until_ready(self, ask: bool, timeout_s: float) -> None:
        deadline, said = time.monotonic() + timeout_s, "no answer"
        # No proxy from the environment, and no keeping alive: each answer is a fresh one.
        with httpx.Client(trust_env=False, timeout=PROBE_TIMEOUT_S) as client:
            while True:
                self._require_all_running()
                if not ask:
                    return
                ready, said = _probe(client, f"{self.url}/ready")
                if ready:
                    return
                if time.monotonic() > deadline:
                    log = processes.tail(self.settings.data_dir / "logs" / "api.log")
                    raise StartFailed(f"{self.url}/ready was not ready after {timeout_s:.0f} s: {said}\nIts log ends with:\n{log}")
                time.sleep(READY_POLL_S)

    def _require_all_running(self) -> None:
        for part in self._parts:
            code = part.ended()
            if code is not None:
                raise StartFailed(f"{part.name} ended with {code}. Its log {part.log} ends with:\n{processes.tail(part.log)}")


def _stop_rank(part: Part) -> int:
    """Where a process stands in the order; programs that it does not name go first."""
    kind = part.name.partition("-")[0]
    return STOP_ORDER.index(kind) if kind in STOP_ORDER else -1


def _probe(client: httpx.Client, url: str) -> tuple[bool, str]:
    try:
        response = client.get(url)
    except httpx.HTTPError as error:
        return False, f"{type(error).__name__} {error}"
    return response.status_code == httpx.codes.OK, f"{response.status_code} {response.text[:500]}"
