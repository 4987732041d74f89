"""Valkey (Redis) as a child of this process: one password, local only, appended to disk every second, and gone when we are gone."""

import socket
import subprocess
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Self

from gridbroker.app.embedded import process as processes
from gridbroker.app.embedded import secret_file
from gridbroker.app.embedded.binaries import valkey_server
from gridbroker.app.embedded.cluster import ENVIRONMENT
from gridbroker.app.embedded.ports import free_port
from gridbroker.app.lockfile import FolderLock
from gridbroker.core.errors import Unavailable

HOST = "127.0.0.1"
START_ATTEMPTS = 20
RETRY_PAUSE_S = 0.25
READY_TIMEOUT_S = 60.0
SHUTDOWN_S = 10.0
PING_TIMEOUT_S = 1.0
USER = "default"


class ValkeyFailed(Unavailable):
    code, title = "valkey_failed", "The embedded Valkey did not start"


class EmbeddedValkey:
    """A running server. At most the last second of writes is lost when the machine fails, nothing when only a process does."""

    name = "valkey"
    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path, program: Path, password: str, log: Path, lock: FolderLock) -> None:
        self.folder = folder
        self.port = 0
        self.log = log
        self._program = program
        self._password = password
        self._lock = lock

    @classmethod
    def start(cls, data_dir: Path, *, bin_dir: Path | None = None, port: int = 0, log: Path | None = None) -> Self:
        """A server on `data_dir`, ready for commands. Raises DataDirInUse, MissingBinary, ValkeyFailed."""
        data_dir = data_dir.absolute()
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        program = valkey_server(bin_dir)
        lock = FolderLock.acquire(data_dir)
        try:
            password = secret_file.passwords(data_dir / "passwords.json", (USER,))[USER]
            server = cls(data_dir, program, password, log or data_dir / "valkey.log", lock)
            server._end_orphan()
            server._launch(port)
        except BaseException:
            lock.release()
            raise
        return server

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    def ended(self) -> int | None:
        """The exit code once the server has ended, else None."""
        return self.process.poll()

    def restart(self) -> None:
        """Start again on the same port after the server died."""
        processes.stop(self.process, [(SIGTERM, SHUTDOWN_S)])
        self._end_orphan()
        self._launch(self.port)

    def ask_to_stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(SIGTERM)

    def stop(self) -> None:
        """Write everything out and end. Safe to call twice."""
        processes.stop(self.process, [(SIGTERM, SHUTDOWN_S)])
        self._lock.release()

    @property
    def _pid_file(self) -> Path:
        return self.folder / "valkey.pid"

    def _launch(self, port: int) -> None:
        for attempt in range(1, START_ATTEMPTS + 1):
            self.port = port or free_port(HOST)
            log_start = self.log.stat().st_size if self.log.exists() else 0
            self.process = self._spawn()
            if self._became_ready():
                return
            said = processes.tail_from(self.log, log_start)
            if attempt == START_ATTEMPTS or "Address already in use" not in said:
                raise ValkeyFailed(f"{self._program} on {self.folder} ended before it was ready. It said:\n{said}")
            time.sleep(RETRY_PAUSE_S)

    def _spawn(self) -> subprocess.Popen[bytes]:
        # The configuration comes through stdin: arguments are visible to everyone on the machine. The folder is among the arguments
        # so that an orphan can be recognised.
        argv = [str(self._program), "-", "--dir", str(self.folder), "--set-proc-title", "no"]
        config = configuration(self.port, self._password, self._pid_file)
        return processes.spawn(argv, log=self.log, env=ENVIRONMENT, death_signal=SIGTERM, stdin=config.encode())

    def _became_ready(self) -> bool:
        """False when the server ended instead. Raises ValkeyFailed when it does neither in time."""
        process = self.process
        if not processes.wait_until(lambda: process.poll() is not None or self._answers(), READY_TIMEOUT_S):
            processes.stop(process, [(SIGTERM, SHUTDOWN_S)])
            raise ValkeyFailed(f"Valkey was not ready after {READY_TIMEOUT_S:.0f} s. It said:\n{processes.tail(self.log)}")
        return process.poll() is None

    def _answers(self) -> bool:
        """Whether our server, which knows our password, has loaded its data."""
        try:
            with socket.create_connection((HOST, self.port), timeout=PING_TIMEOUT_S) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    chunk = connection.recv(256)
                    if not chunk:
                        return False
                    answer += chunk
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def _end_orphan(self) -> None:
        """End a server whose supervisor was killed: two on one append-only file would ruin it. We hold the folder's lock."""
        text = self._pid_file.read_text().strip() if self._pid_file.exists() else ""
        if not text.isdigit():
            return

        def is_ours(candidate: int) -> bool:
            return processes.runs(candidate, self._program.name, self.folder)

        steps = [(None, 1.0), (SIGTERM, SHUTDOWN_S), (SIGKILL, SHUTDOWN_S)]
        if not processes.end_stranger(int(text), is_ours, steps):
            raise ValkeyFailed(f"An old Valkey, process {text}, still uses {self.folder} and does not end.")


def configuration(port: int, password: str, pid_file: Path) -> str:
    """Valkey's configuration; Redis 7 reads it too."""
    lines = {
        "bind": HOST,
        "port": str(port),
        "requirepass": password,
        "pidfile": f'"{pid_file}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "loglevel": "notice",
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())
