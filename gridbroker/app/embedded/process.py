"""Starting, recognising and ending processes that must not outlive this one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Literal

RunAs = Literal["self", "namespace", "nobody"]

POLL_INTERVAL_S = 0.02
TAIL_BYTES = 2000
_LAUNCHER = str(Path(__file__).with_name("launch.py"))

# The kernel's parent-death signal fires when the parent *thread* ends, so one thread that lives as long as we do starts them all.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    death_signal: signal.Signals = signal.SIGTERM,
    niceness: int = 0,
    run_as: RunAs = "self",
    stdin: bytes = b"",
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output appended to `log`; it gets `death_signal` when this process ends.

    `argv[0]` is an absolute path. `stdin` is what it reads before end of file.
    """
    command = launcher_argv(argv, death_signal=death_signal, niceness=niceness, run_as=run_as)
    return _spawner.submit(_popen, command, log, dict(env), stdin).result()


def launcher_argv(argv: Sequence[str], *, death_signal: signal.Signals, niceness: int, run_as: RunAs) -> list[str]:
    launcher = [sys.executable, "-I", "-S", _LAUNCHER]
    return [*launcher, str(os.getpid()), str(int(death_signal)), str(niceness), run_as, *argv]


def _popen(command: list[str], log: Path, env: dict[str, str], stdin: bytes) -> subprocess.Popen[bytes]:
    # A new session keeps Ctrl-C in a terminal from reaching everyone at once: the supervisor stops them in order.
    with open(log, "ab", opener=_private) as output:
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
    assert process.stdin is not None, "asked for a pipe"
    try:
        process.stdin.write(stdin)
        process.stdin.close()
    except BrokenPipeError:
        pass  # It died at once; its exit code and its log say why.
    return process


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # a failing statement is logged with what it contains


@cache
def unprivileged() -> RunAs:
    """How to run a program that refuses root: as ourselves, as an ordinary user in a namespace, or as nobody."""
    if os.geteuid() != 0:
        return "self"
    probe = launcher_argv([sys.executable, "-I", "-S", "-c", ""], death_signal=signal.SIGTERM, niceness=0, run_as="namespace")
    allowed = _spawner.submit(subprocess.run, probe, capture_output=True, check=False).result().returncode == 0
    return "namespace" if allowed else "nobody"


def stop(process: subprocess.Popen[bytes], steps: Iterable[tuple[signal.Signals, float]]) -> int:
    """Send each signal and wait its seconds until the process has ended; the last resort is SIGKILL. Returns the exit code."""
    for signal_number, patience_s in steps:
        if process.poll() is None:
            process.send_signal(signal_number)
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.wait()


def end_stranger(pid: int, is_ours: Callable[[int], bool], steps: Iterable[tuple[signal.Signals | None, float]]) -> bool:
    """End a process that is not our child, asking `is_ours` again before each signal. None only waits. False if it still lives."""
    for signal_number, patience_s in steps:
        if not is_ours(pid):
            return True
        if signal_number is not None:
            try:
                os.kill(pid, signal_number)
            except ProcessLookupError:
                return True
        if wait_until(lambda: not is_ours(pid), patience_s):
            return True
    return not is_ours(pid)


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until the condition holds. False after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def command_line(pid: int) -> list[str]:
    """The arguments of a living process; empty when there is none or it is a zombie."""
    if sys.platform == "linux":
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return []
        return arguments.removesuffix("\0").split("\0") if arguments else []
    listed = subprocess.run(["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603
    return listed.stdout.split()


def exists(pid: int) -> bool:
    """Whether the number is taken, be it by a zombie or by another user's process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def runs(pid: int, program: str, folder: Path) -> bool:
    """Whether the living process `pid` is `program` started on `folder` (named among its arguments)."""
    arguments = command_line(pid)
    return bool(arguments) and Path(arguments[0]).name == program and str(folder) in arguments


def tail(log: Path, max_bytes: int = TAIL_BYTES) -> str:
    """The end of a log file, for people. Empty when there is no log."""
    return tail_from(log, 0, max_bytes)


def tail_from(log: Path, start: int, max_bytes: int = TAIL_BYTES) -> str:
    """Like `tail`, but nothing that was written before the byte `start`."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - max_bytes))
            return file.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
