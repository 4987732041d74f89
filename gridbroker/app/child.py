"""One of our own programs as a child: its log, its environment, its end."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gridbroker.app.embedded import process as processes
from gridbroker.core.settings import PREFIX, Settings

MARK = f"{PREFIX}STACK"
"""The variable by which the processes of one data folder, and theirs, can be recognised."""
STOP_PATIENCE_S = 10.0
MAX_LOG_BYTES = 50 * 1024**2
BACKGROUND = frozenset({"worker", "scheduler"})
BACKGROUND_NICENESS = 5
"""What nobody waits for steps back, so that requests are acknowledged promptly."""


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    argv: tuple[str, ...]
    niceness: int = 0


class Child:
    """A running program. Everything that it starts belongs to its session and ends with it."""

    def __init__(self, program: Program, env: dict[str, str], log: Path) -> None:
        self.name = program.name
        self.log = log
        self._program = program
        self._env = env
        self._asked_to_stop = False
        self.process = self._spawn()

    def ended(self) -> int | None:
        """The exit code once it has ended and nothing of its session is left, else None."""
        if self.process.returncode is None:
            if not _is_dead(self.process.pid):
                return None
            _kill_session(self.process.pid)
        return self.process.wait()

    def restart(self) -> None:
        assert self.ended() is not None, "only what has ended is started again"
        self.process = self._spawn()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, once: several servers take a second one as an order to drop their work."""
        if not self._asked_to_stop and self.ended() is None:
            os.kill(self.process.pid, signal.SIGTERM)  # not terminate(), which may reap it before its session is ended
        self._asked_to_stop = True

    def stop(self) -> None:
        """Ask, wait, then kill what is left of it."""
        self.ask_to_stop()
        if not processes.wait_until(lambda: self.ended() is not None, STOP_PATIENCE_S):
            _kill_session(self.process.pid)
            self.process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        rotate(self.log)
        return processes.spawn(self._program.argv, log=self.log, env=self._env, niceness=self._program.niceness)


def programs(commands: Mapping[str, Sequence[str]], workers: int) -> list[Program]:
    """One program per command, the command `worker` as often as asked: worker, worker-2, worker-3."""
    planned: list[Program] = []
    for name, argv in commands.items():
        if name == "worker":
            names = [name, *(f"{name}-{number}" for number in range(2, workers + 1))][:workers]
            planned += [Program(each, tuple(argv), BACKGROUND_NICENESS) for each in names]
        else:
            planned.append(Program(name, tuple(argv), BACKGROUND_NICENESS if name in BACKGROUND else 0))
    return planned


def environment(settings: Settings) -> dict[str, str]:
    """What our programs get: our environment, with the settings as resolved here in place of those we were given."""
    return plain_environment() | settings.as_environment() | {MARK: str(settings.data_dir), "PYTHONUNBUFFERED": "1"}


def plain_environment() -> dict[str, str]:
    """Our environment without anything that is a setting of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}  # noqa: TID251 - passed on


def rotate(log: Path) -> None:
    """Put a log that has grown large aside; one old one is kept."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def end_leftovers(data_dir: Path) -> list[int]:
    """End what a killed supervisor of this folder left behind, and return its pids. Call it only with the folder's lock held."""
    left = [pid for pid in _all_pids() if _is_marked(pid, data_dir)]
    deadline = time.monotonic() + STOP_PATIENCE_S
    for pid in left:
        # They were told to stop when their parent died.
        patience_s = max(0.0, deadline - time.monotonic())
        steps = [(None, min(2.0, patience_s)), (signal.SIGTERM, patience_s), (signal.SIGKILL, STOP_PATIENCE_S)]
        processes.end_stranger(pid, lambda candidate: _is_marked(candidate, data_dir), steps)
    return left


def _all_pids() -> list[int]:
    own = os.getpid()
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if int(entry.name) != own]


def _is_marked(pid: int, data_dir: Path) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(f"{MARK}={data_dir}") in variables


def _is_dead(pid: int) -> bool:
    """Whether our child has ended, without reaping it: until then nobody else can get its number."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_session(leader_pid: int) -> None:
    try:
        os.killpg(leader_pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        return
