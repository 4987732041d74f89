"""PostgreSQL as a child of this process, in a folder of its own: passwords only, local only, and gone when we are gone."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT
from typing import Self

from gridbroker.app.embedded import process as processes
from gridbroker.app.embedded import secret_file
from gridbroker.app.embedded.binaries import postgres_bin
from gridbroker.app.embedded.cluster import ENVIRONMENT, LOGIN_ROLES, SUPERUSER, make_cluster
from gridbroker.app.embedded.ports import free_port
from gridbroker.app.embedded.process import RunAs
from gridbroker.app.lockfile import FolderLock
from gridbroker.core.errors import Unavailable

DATABASE = "gridbroker"
HOST = "127.0.0.1"
START_ATTEMPTS = 20
RETRY_PAUSE_S = 0.25
READY_TIMEOUT_S = 120.0
"""Recovery after a crash replays at most what `max_wal_size` (1 GB) holds."""
FAST_SHUTDOWN_S = 20.0
IMMEDIATE_SHUTDOWN_S = 5.0
NO_PROCESS = 4_194_305
"""One more than the highest process number of any kernel that we run on."""

OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "jit": "off",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresFailed(Unavailable):
    code, title = "postgres_failed", "The embedded PostgreSQL did not start"


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """One database as each role that uses it."""

    owner: str
    app: str
    system: str
    admin: str


class EmbeddedPostgres:
    """A running server. `start` makes the cluster on first use and takes over what a killed predecessor left behind."""

    name = "postgres"
    process: subprocess.Popen[bytes]

    def __init__(
        self, folder: Path, *, bin_dir: Path, passwords: dict[str, str], log: Path, run_as: RunAs, lock: FolderLock, fsync: bool
    ) -> None:
        self.folder = folder
        self.port = 0
        self.log = log
        self._bin_dir = bin_dir
        self._passwords = passwords
        self._run_as: RunAs = run_as
        self._lock = lock
        self._options = OPTIONS if fsync else OPTIONS | NOT_DURABLE

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        port: int = 0,
        fsync: bool = True,
        log: Path | None = None,
        run_as: RunAs | None = None,
    ) -> Self:
        """A server on `data_dir`, ready for connections. Port 0 takes a free one. `fsync=False` is for tests only.

        Raises DataDirInUse, MissingBinary, PostgresFailed.
        """
        data_dir = data_dir.absolute()
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        found, run_as = postgres_bin(bin_dir), run_as or processes.unprivileged()
        lock = FolderLock.acquire(data_dir)
        try:
            passwords = secret_file.passwords(data_dir / "passwords.json", (SUPERUSER, *LOGIN_ROLES))
            log = log or data_dir / "postgres.log"
            server = cls(data_dir, bin_dir=found, passwords=passwords, log=log, run_as=run_as, lock=lock, fsync=fsync)
            server._end_orphan()
            make_cluster(server.cluster, found, passwords, DATABASE, log, run_as=run_as, fsync=fsync)
            server._launch(port)
        except BaseException:
            lock.release()
            raise
        return server

    def ended(self) -> int | None:
        """The exit code once the server has ended, else None."""
        return self.process.poll()

    def restart(self) -> None:
        """Start again on the same port after the server died."""
        processes.stop(self.process, [(SIGINT, FAST_SHUTDOWN_S), (SIGQUIT, IMMEDIATE_SHUTDOWN_S)])
        self._end_orphan()
        self._launch(self.port)

    def ask_to_stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(SIGINT)

    def stop(self) -> None:
        """Fast shutdown: open transactions roll back, everything committed is kept. Safe to call twice."""
        processes.stop(self.process, [(SIGINT, FAST_SHUTDOWN_S), (SIGQUIT, IMMEDIATE_SHUTDOWN_S)])
        self._lock.release()

    @property
    def cluster(self) -> Path:
        return self.folder / "cluster"

    @property
    def owner_url(self) -> str:
        return self.database_urls(DATABASE).owner

    @property
    def app_url(self) -> str:
        return self.database_urls(DATABASE).app

    @property
    def system_url(self) -> str:
        return self.database_urls(DATABASE).system

    @property
    def admin_url(self) -> str:
        """The superuser on the maintenance database: creates and drops databases, migrates nothing."""
        return self.database_urls("postgres").admin

    def database_urls(self, dbname: str) -> DatabaseUrls:
        owner, app, system, admin = (
            f"postgresql://{role}:{self._passwords[role]}@{HOST}:{self.port}/{dbname}" for role in (*LOGIN_ROLES, SUPERUSER)
        )
        return DatabaseUrls(owner, app, system, admin)

    def _launch(self, port: int) -> None:
        """Start and wait until ready; try again when another process took the port or old backends still hold the memory."""
        for attempt in range(1, START_ATTEMPTS + 1):
            self.port = port or free_port(HOST)
            log_start = self.log.stat().st_size if self.log.exists() else 0
            self.process = self._spawn()
            if self._became_ready():
                return
            said = processes.tail_from(self.log, log_start)
            if attempt == START_ATTEMPTS or not is_passing(said):
                raise PostgresFailed(f"{self._bin_dir / 'postgres'} on {self.cluster} ended before it was ready. It said:\n{said}")
            time.sleep(RETRY_PAUSE_S)

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        argv = [str(self._bin_dir / "postgres"), "-D", str(self.cluster), "-p", str(self.port), *options]
        return processes.spawn(argv, log=self.log, env=ENVIRONMENT, death_signal=SIGINT, run_as=self._run_as)

    def _became_ready(self) -> bool:
        """False when the server ended instead. Raises PostgresFailed when it does neither in time."""
        pid_file, process = self.cluster / "postmaster.pid", self.process

        def settled() -> bool:
            return process.poll() is not None or is_ready(_read(pid_file), process.pid)

        if not processes.wait_until(settled, READY_TIMEOUT_S):
            processes.stop(process, [(SIGQUIT, IMMEDIATE_SHUTDOWN_S)])
            raise PostgresFailed(f"PostgreSQL was not ready after {READY_TIMEOUT_S:.0f} s. It said:\n{processes.tail(self.log)}")
        return process.poll() is None

    def _end_orphan(self) -> None:
        """Deal with the pid file of a killed predecessor: we hold the folder's lock, so whatever it names has lost its parent."""
        pid_file = self.cluster / "postmaster.pid"
        pid = recorded_pid(_read(pid_file))
        if pid is None:
            return

        def is_ours(candidate: int) -> bool:
            return processes.runs(candidate, "postgres", self.cluster)

        # It got SIGINT when its parent died, so first only wait.
        steps = [(None, 2.0), (SIGINT, FAST_SHUTDOWN_S), (SIGQUIT, IMMEDIATE_SHUTDOWN_S), (SIGKILL, IMMEDIATE_SHUTDOWN_S)]
        if not processes.end_stranger(pid, is_ours, steps):
            raise PostgresFailed(f"An old PostgreSQL, process {pid}, still uses {self.cluster} and does not end.")
        left = _read(pid_file)
        if recorded_pid(left) == pid and processes.exists(pid):
            # A zombie that nobody has reaped, or another program that got the number: PostgreSQL would take it for a living server.
            # Only the number is replaced, because the rest tells PostgreSQL whether old backends still hold the shared memory.
            _overwrite(pid_file, without_pid(left))


def recorded_pid(pid_file: str) -> int | None:
    """The process named in the first line of a postmaster.pid."""
    first = pid_file.partition("\n")[0].strip()
    return int(first) if first.isdigit() and int(first) > 0 else None


def without_pid(pid_file: str) -> str:
    """The same postmaster.pid of a process that cannot exist; never shorter than before."""
    first, separator, rest = pid_file.partition("\n")
    return f"{NO_PROCESS:>{len(first)}}{separator}{rest}"


def is_ready(pid_file: str, pid: int) -> bool:
    """Whether a postmaster.pid says that the server `pid` accepts connections; a stale file says so too, about another pid."""
    lines = pid_file.splitlines()
    return recorded_pid(pid_file) == pid and len(lines) >= 8 and lines[7].strip() == "ready"


def is_passing(log: str) -> bool:
    """Whether what a server said before it ended is worth another try."""
    return "could not bind" in log or "could not create any TCP/IP sockets" in log or "pre-existing shared memory block" in log


def _overwrite(path: Path, text: str) -> None:
    """In place, so that the file keeps its owner and is never empty."""
    with path.open("r+") as file:
        file.write(text)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return ""
