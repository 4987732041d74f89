"""Keeps a set of processes running: watches them, and starts again what died."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Literal, Protocol

import structlog

from gridbroker.core.errors import GridbrokerError

WATCH_INTERVAL_S = 0.1
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 10.0
STABLE_AFTER_S = 30.0
"""A process that has run this long starts again without a pause when it dies."""

_log = structlog.get_logger()


class Part(Protocol):
    """One process of the stack, be it a server or a program of ours."""

    name: str
    log: Path
    process: Popen[bytes]

    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        ...

    def restart(self) -> None: ...

    def ask_to_stop(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StackEvent:
    """What happened to a process. `exit_code` is negative for a signal; `detail` says why a restart failed."""

    kind: Literal["ended", "restarted", "restart_failed"]
    name: str
    pid: int
    exit_code: int | None = None
    detail: str = ""


@dataclass(slots=True)
class _Watched:
    part: Part
    failures: int = 0
    running_since: float = field(default_factory=time.monotonic)
    restart_at: float | None = None


class Supervisor:
    """Watches from a thread of its own. `report` is called from that thread."""

    def __init__(self, parts: Sequence[Part], report: Callable[[StackEvent], None]) -> None:
        self._watched = [_Watched(part) for part in parts]
        self._report = report
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, not the processes. Returns when no restart is under way."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_INTERVAL_S):
            for watched in self._watched:
                self._look_at(watched)

    def _look_at(self, watched: _Watched) -> None:
        code = watched.part.ended()
        if code is None or self._stopping.is_set():
            return
        now = time.monotonic()
        if watched.restart_at is None:
            stable = now - watched.running_since > STABLE_AFTER_S
            watched.failures = 0 if stable else watched.failures + 1
            watched.restart_at = now + backoff_s(watched.failures)
            self._report(StackEvent("ended", watched.part.name, watched.part.process.pid, code))
        elif now >= watched.restart_at:
            self._restart(watched)

    def _restart(self, watched: _Watched) -> None:
        watched.restart_at, part = None, watched.part
        try:
            part.restart()
        except (GridbrokerError, OSError) as error:
            # Still ended, so the next look waits longer and tries again.
            self._report(StackEvent("restart_failed", part.name, part.process.pid, part.ended(), str(error)))
        else:
            watched.running_since = time.monotonic()
            self._report(StackEvent("restarted", part.name, part.process.pid))


def backoff_s(failures: int) -> float:
    """Seconds before the restart that follows `failures` quick deaths in a row: 0, then doubling from 0.1 up to 10."""
    return 0.0 if failures == 0 else min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (min(failures, 16) - 1))


def log_event(event: StackEvent) -> None:
    _log.warning(f"process.{event.kind}", process=event.name, pid=event.pid, exit_code=event.exit_code, detail=event.detail)
