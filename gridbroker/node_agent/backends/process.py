"""Runs a placement's program as a process group of its own, in a session of its own, under a tiny shell that outlives the agent.

The agent may be killed at any moment and must neither lose the program nor start it twice. So the program does not die with its
parent (PR_SET_PDEATHSIG is not set), and three things stand in the run folder instead of in the agent's memory:

- `identity`: the shell's own /proc stat line, written with O_EXCL before the program starts. A recovering agent that finds none
  writes `void` the same way; whichever comes first wins, so a shell that was about to start can no longer do so.
- `stdout`, `stderr`: named pipes that the program holds open for reading too. Nobody reading means it waits, not that it dies.
  What a killed agent had read and not yet written down (one read, at most 64 KiB) is the only output that can be lost.
- `exit`: the program's exit code, written by the shell.

Needs Linux (/proc). A service manager must leave the processes alone when it restarts the agent (systemd: KillMode=process).
Limits are per process: RLIMIT_AS counts virtual memory, which CUDA reserves generously; RLIMIT_CPU sends SIGXCPU, then SIGKILL.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

IDENTITY, EXIT = "identity", "exit"
STREAMS = ("stdout", "stderr")
KILLED = 128 + signal.SIGKILL
_IDENTITY_WAIT_S = 2.0
_VOID = "void\n"

# Traps are undone in the program's own shell, so it starts with default signals; the outer one survives to tell the exit code.
_SHELL = """
set -C
IFS= read -r stat < "/proc/$$/stat" && printf '%s\\n' "$stat" > "$1/identity" || exit 125
set +C
trap : TERM INT HUP USR1 USR2
run=$1 memory_kib=$2 cpu_s=$3
shift 3
(
  [ "$memory_kib" = 0 ] || ulimit -v "$memory_kib"
  [ "$cpu_s" = 0 ] || { ulimit -S -t "$cpu_s"; ulimit -H -t $((cpu_s + 5)) || :; }
  exec "$@"
)
code=$?
echo "$code" > "$run/exit"
exit "$code"
"""


class CannotStart(Exception):
    """The command cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    memory_mib: int | None = None
    cpu_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What the kernel says of a process."""

    pid: int
    state: str
    group: int
    start_ticks: int
    """Since the machine's boot: with the pid, the identity of a process."""

    @classmethod
    def parse(cls, line: str) -> Self:
        # The command's name stands in brackets and may itself contain brackets and spaces.
        pid, rest = line.split(" ", 1)
        fields = rest.rpartition(")")[2].split()
        return cls(pid=int(pid), state=fields[0], group=int(fields[2]), start_ticks=int(fields[19]))

    @classmethod
    def of(cls, pid: int) -> Self | None:
        try:
            return cls.parse(Path(f"/proc/{pid}/stat").read_text())
        except (OSError, ValueError):
            return None


class RunningProgram:
    """A started program: ours, or one that an earlier agent started."""

    def __init__(self, run_dir: Path, pipes: dict[str, int], stat: Stat | None, child: "subprocess.Popen[bytes] | None") -> None:
        self.pipes = pipes
        """Non-blocking descriptors to read the streams from, by name; `end` closes them."""
        self._run_dir = run_dir
        self._stat = stat
        self._child = child
        self._group = child.pid if child is not None else (stat.pid if stat else 0)

    def signal(self, number: signal.Signals) -> None:
        """To the whole group; no error when it is gone."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, number)

    def is_alive(self) -> bool:
        if self._child is not None:
            # Seen but not reaped: its number cannot be given to another process before `end`.
            return self._child.returncode is None and os.waitid(os.P_PID, self._child.pid, _LOOK) is None
        stat = Stat.of(self._group) if self._stat else None
        return stat is not None and self._stat is not None and stat.start_ticks == self._stat.start_ticks and stat.state not in "ZX"

    def end(self) -> int:
        """After it is dead: kills what it left behind in its group; the exit code as a shell gives it, KILLED when nobody knows."""
        self.kill_stragglers()
        for pipe in self.pipes.values():
            os.close(pipe)
        code = None if self._child is None else self._child.wait()
        written = _read_exit(self._run_dir)
        if written is not None:
            return written
        if code is None:
            return KILLED
        return code if code >= 0 else 128 - code

    def ended_wall_s(self) -> float | None:
        """Unix time at which the exit code was written, if it was."""
        try:
            return (self._run_dir / EXIT).stat().st_mtime
        except FileNotFoundError:
            return None

    def kill_stragglers(self) -> None:
        """After it is dead: ends what it left behind in its group, so that its pipes come to their end."""
        if self._child is not None and self._child.returncode is not None:
            return
        if self._child is None and not any(self._stat and stat.group == self._group for stat in _processes()):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, signal.SIGKILL)


_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT


def start(run_dir: Path, command: Sequence[str], environment: Mapping[str, str], work_dir: Path, limits: Limits) -> RunningProgram:
    """Starts `command` with exactly this environment. `run_dir` must be new. Raises CannotStart."""
    check_command(command, environment)
    try:
        run_dir.mkdir(parents=True)
        for name in STREAMS:
            os.mkfifo(run_dir / name, 0o600)
        # Ours first: what a program writes and closes before anyone reads is lost.
        readers = _open_pipes(run_dir)
        writers = [os.open(run_dir / name, os.O_RDWR) for name in STREAMS]
    except OSError as error:
        raise CannotStart(f"the run folder cannot be made: {error}") from error
    settings = (str(run_dir), str((limits.memory_mib or 0) * 1024), str(limits.cpu_s or 0))
    try:
        child = subprocess.Popen(  # noqa: S603 - running what it was ordered to run is what an agent does
            ["/bin/sh", "-c", _SHELL, "gridbroker-run", *settings, *command],
            stdin=subprocess.DEVNULL,
            stdout=writers[0],
            stderr=writers[1],
            cwd=work_dir,
            env=dict(environment),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        for pipe in readers.values():
            os.close(pipe)
        raise CannotStart(str(error)) from error
    finally:
        for pipe in writers:
            os.close(pipe)
    return RunningProgram(run_dir, readers, None, child)


def _open_pipes(run_dir: Path) -> dict[str, int]:
    return {name: os.open(run_dir / name, os.O_RDONLY | os.O_NONBLOCK) for name in STREAMS if (run_dir / name).exists()}


def check_command(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises CannotStart when there is no such program."""
    if not command or not command[0]:
        raise CannotStart("the command is empty")
    if any("\0" in word for word in (*command, *environment, *environment.values())):
        raise CannotStart("the command or its environment contains a NUL")
    if shutil.which(command[0], path=environment.get("PATH", os.defpath)) is None:
        raise CannotStart(f"no such program here: {command[0]}")


def recover(run_dir: Path) -> RunningProgram | None:
    """What an earlier agent started in this run folder, dead or alive. None: it never started, and now never will."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / IDENTITY).open("x") as file:
            file.write(_VOID)
    except FileExistsError:
        content = _read_identity(run_dir)
        if content == _VOID:
            return None
        return RunningProgram(run_dir, _open_pipes(run_dir), Stat.parse(content) if content else None, None)
    return None


def _read_identity(run_dir: Path) -> str:
    """Its whole line; empty when its writer died between opening and writing."""
    deadline = time.monotonic() + _IDENTITY_WAIT_S
    while time.monotonic() < deadline:
        content = (run_dir / IDENTITY).read_text()
        if content.endswith("\n"):
            return content
        time.sleep(0.01)
    return ""


def _read_exit(run_dir: Path) -> int | None:
    try:
        content = (run_dir / EXIT).read_text()
    except FileNotFoundError:
        return None
    return int(content) if content.endswith("\n") and content.strip().isdigit() else None


def _processes() -> Iterator[Stat]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (stat := Stat.of(int(entry.name))):
            yield stat
