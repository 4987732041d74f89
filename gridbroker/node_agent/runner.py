"""One placement, from order to exit report: a thread that starts or adopts its program, reads it and watches its checkpoints."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path

from gridbroker.node_agent import checkpoint
from gridbroker.node_agent.backends import process
from gridbroker.node_agent.backends.process import KILLED, CannotStart, Limits, RunningProgram
from gridbroker.node_agent.checkpoint import BadCheckpoint
from gridbroker.node_agent.client import Client, Refused
from gridbroker.node_agent.clock import GridClock, rfc3339
from gridbroker.node_agent.console import TICK_S, Console, Line, Wake
from gridbroker.node_agent.journal import Entry, Journal, LocalState
from gridbroker.node_agent.output import parse_progress
from gridbroker.node_agent.protocol import Order, ReportKind
from gridbroker.node_agent.reconcile import Key
from gridbroker.node_agent.restore import Interrupted, restore
from gridbroker.node_agent.sampler import Meter
from gridbroker.node_agent.spool import MAX_UNSENT_LOG_BYTES, Spool

EXIT_RESUME_ME = 75
PROGRESS_INTERVAL_S = 1.0

log = logging.getLogger(__name__)


class Wish(IntEnum):
    """What is wanted of the program; only ever rises."""

    RUN = 0
    STOP = 1
    KILL = 2
    FENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What every runner on this node shares."""

    journal: Journal
    spool: Spool
    meter: Meter
    clock: GridClock
    placements_dir: Path
    base_environment: Mapping[str, str]
    new_client: Callable[[], Client]
    on_end: Callable[[Key], None]

    def folder(self, key: Key) -> Path:
        return self.placements_dir / f"{key[0]}-{key[1]}"

    def checkpoint_dir(self, key: Key) -> Path:
        return self.folder(key) / "checkpoints"


@dataclass(slots=True)
class Progress:
    """The newest step that the program told of; sent at most once a second, latest wins."""

    step: int | None = None
    total: int | None = None
    is_unsent: bool = False
    sent_s: float = field(default=-PROGRESS_INTERVAL_S)


class Runner:
    def __init__(self, site: Site, entry: Entry, adopted: RunningProgram | None = None) -> None:
        self.key = entry.key
        self.is_running = adopted is not None
        self._site = site
        self._order = entry.order
        self._was_reported = entry.state is LocalState.RUNNING
        self._adopted = adopted
        self._was_found_dead = adopted is not None and not adopted.is_alive()
        self._folder = site.folder(entry.key)
        self._checkpoints = site.checkpoint_dir(entry.key)
        resumed = entry.order.resume.step if entry.order.resume else -1
        self._newest_step = max(entry.uploaded_step, resumed)
        self._progress = Progress()
        self._dropped_lines = 0
        self._signal_due_s = time.monotonic() + entry.order.checkpoint_interval_s
        self._wish_lock = threading.Lock()
        self._wish = Wish.RUN if entry.kill_at is None else Wish.STOP
        self._done_wish = self._wish
        self._kill_at = entry.kill_at
        self._reason: str | None = None
        self._wake = Wake()

    # From other threads -------------------------------------------------------------------------------------------------------

    def stop(self, grace_s: int) -> None:
        """SIGTERM now, SIGKILL after the grace. Asking again changes nothing."""
        with self._wish_lock:
            if self._wish is Wish.RUN:
                self._kill_at = self._site.clock.wall() + timedelta(seconds=grace_s)
        self._want(Wish.STOP)

    def kill(self) -> None:
        self._want(Wish.KILL)

    def fence(self) -> None:
        """The lease is another's: kill, and report nothing more."""
        self._want(Wish.FENCE)

    def _want(self, wish: Wish) -> None:
        with self._wish_lock:
            self._wish = max(self._wish, wish)
        self._wake.now()

    # The placement's own thread -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        program = self._adopted or self._begin()
        if program is not None:
            if not self._was_reported:
                self._report_running(self._site.meter.last_seen(self._order.gpu_indices) or self._site.clock.now())
            self._watch(program)
            self._finish(program)
        self._wake.close()
        self._site.on_end(self.key)

    def _begin(self) -> RunningProgram | None:
        site, order = self._site, self._order
        work_dir = self._folder / "work"
        try:
            work_dir.mkdir(parents=True, exist_ok=True)
            self._checkpoints.mkdir(exist_ok=True)
            resume_from = self._restore()
            environment = program_environment(order, site.base_environment, work_dir, self._checkpoints, resume_from)
            process.check_command(order.command, environment)
            self._stop_if_wanted()
        except (BadCheckpoint, CannotStart, OSError) as error:
            return self._end(ReportKind.REFUSED, reason=str(error))
        except Interrupted:
            return self._end_unstarted()
        except Refused as refusal:
            if refusal.code == "stale_epoch":
                self.fence()
                return self._end_unstarted()
            return self._end(ReportKind.REFUSED, reason=f"the checkpoint cannot be had: {refusal}")
        run_dir = run_folder(self._folder, site.journal.begin_run(self.key))
        started_at = site.meter.hold(order.gpu_indices, order.load_hint)
        limits = Limits(memory_mib=order.memory_limit_mib, cpu_s=order.cpu_seconds_limit)
        try:
            program = process.start(run_dir, order.command, environment, work_dir, limits)
        except CannotStart as error:
            site.meter.release(order.gpu_indices)
            return self._end(ReportKind.REFUSED, reason=str(error))
        self._signal_due_s = time.monotonic() + order.checkpoint_interval_s
        self._report_running(started_at)
        return program

    def _restore(self) -> Path | None:
        resume = self._order.resume
        if resume is None:
            return None
        client = self._site.new_client()
        try:
            return restore(client, self._order.placement_id, resume, self._checkpoints, self._wait_or_stop)
        finally:
            client.close()

    def _wait_or_stop(self, pause_s: float) -> bool:
        deadline = time.monotonic() + pause_s
        while self._wish is Wish.RUN and (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(TICK_S, left_s))
        return self._wish is not Wish.RUN

    def _stop_if_wanted(self) -> None:
        if self._wish is not Wish.RUN:
            raise Interrupted

    def _report_running(self, at: datetime) -> None:
        site = self._site
        self.is_running = self._was_reported = True
        with site.spool.store.tx():
            site.journal.move(self.key, LocalState.RUNNING, site.clock.wall())
            site.spool.add_report(*self.key, ReportKind.RUNNING, rfc3339(at))

    # While it runs ------------------------------------------------------------------------------------------------------------

    def _watch(self, program: RunningProgram) -> None:
        """Until it is dead and its output read."""
        console = Console(program.pipes, self._wake)
        while program.is_alive():
            self._follow_wish(program)
            self._take_lines(console.read(hold_back=self._is_full()))
            self._tick(program)
        program.kill_stragglers()
        # Read even past the bound: it is at most what two pipes hold.
        self._take_lines(console.drain())

    def _is_full(self) -> bool:
        """Too much is unsent. A program that is to stop must not be made to wait, though."""
        return self._wish is Wish.RUN and self._site.spool.log_bytes(self._order.placement_id) > MAX_UNSENT_LOG_BYTES

    def _follow_wish(self, program: RunningProgram) -> None:
        wish, kill_at = self._wish, self._kill_at
        if wish is Wish.STOP and self._done_wish < Wish.STOP:
            assert kill_at is not None
            self._site.journal.set_kill_at(self.key, kill_at)
            program.signal(signal.SIGTERM)
            self._done_wish = Wish.STOP
        if wish is Wish.STOP and kill_at is not None and self._site.clock.wall() >= kill_at:
            self._reason = f"killed: it did not stop within {self._order.grace_s} s"
            program.signal(signal.SIGKILL)
        if wish >= Wish.KILL:
            self._reason = self._reason or "killed by order"
            program.signal(signal.SIGKILL)

    def _take_lines(self, lines: Sequence[Line]) -> None:
        texts: list[tuple[str, str, str]] = []
        at = rfc3339(self._site.clock.now())
        for stream, line in lines:
            told = parse_progress(line)
            if told is None:
                texts.append((at, stream, line))
            elif told != (self._progress.step, self._progress.total):
                self._progress.step, self._progress.total = told
                self._progress.is_unsent = True
        if not texts or self._wish is Wish.FENCE:
            return
        if self._site.spool.log_bytes(self._order.placement_id) > 2 * MAX_UNSENT_LOG_BYTES:
            self._dropped_lines += len(texts)
            return
        self._site.spool.add_logs(*self.key, texts)

    def _tick(self, program: RunningProgram) -> None:
        now_s = time.monotonic()
        if self._order.checkpoint_signal and self._order.checkpoint_interval_s > 0 and now_s >= self._signal_due_s:
            self._signal_due_s = now_s + self._order.checkpoint_interval_s
            program.signal(signal.SIGUSR1)
        if self._progress.is_unsent and now_s - self._progress.sent_s >= PROGRESS_INTERVAL_S:
            self._progress.is_unsent, self._progress.sent_s = False, now_s
            at = rfc3339(self._site.clock.now())
            step, total = self._progress.step, self._progress.total
            self._site.spool.add_report(*self.key, ReportKind.PROGRESS, at, step=step, total_steps=total)
        self._take_checkpoint()

    def _take_checkpoint(self) -> None:
        """Hands the newest commit that is not uploaded yet to the spool."""
        steps = checkpoint.committed_steps(self._checkpoints)
        if not steps or steps[-1] <= self._newest_step or self._wish is Wish.FENCE:
            return
        site = self._site
        self._newest_step = steps[-1]
        with site.spool.store.tx():
            site.spool.add_checkpoint(*self.key, steps[-1])
            site.journal.set_uploaded_step(self.key, steps[-1])
        resumed = {self._order.resume.step} if self._order.resume else set[int]()
        checkpoint.prune(self._checkpoints, resumed | site.spool.pending_steps(self._order.placement_id))

    # The end ------------------------------------------------------------------------------------------------------------------

    def _finish(self, program: RunningProgram) -> None:
        site = self._site
        self.is_running = False
        ended_at, reason = self._unseen_end(program) if self._was_found_dead else (None, self._reason)
        code = program.end()
        self._take_checkpoint()
        if self._dropped_lines:
            text = f"gridbroker: {self._dropped_lines} lines were dropped: the broker was not reachable"
            site.spool.add_logs(*self.key, [(rfc3339(site.clock.now()), "stderr", text)])
        at = site.meter.release(self._order.gpu_indices, ended_at)
        self._end(ReportKind.EXITED, at=at, exit_code=code, reason=reason if code == KILLED else None)

    def _unseen_end(self, program: RunningProgram) -> tuple[datetime | None, str | None]:
        """When and why it ended while no agent was there: bill what was last seen rather than what might have been."""
        wall_s = program.ended_wall_s()
        if wall_s is None:
            return self._site.meter.last_seen(self._order.gpu_indices), "it ended while the agent was down; how is not known"
        return self._site.clock.grid_at(datetime.fromtimestamp(wall_s, UTC)), None

    def _end_unstarted(self) -> None:
        """It was to stop before it started: nothing was done, so what it was to resume from still stands."""
        return self._end(ReportKind.EXITED, exit_code=EXIT_RESUME_ME, reason="stopped before it started")

    def _end(
        self, kind: ReportKind, *, at: datetime | None = None, exit_code: int | None = None, reason: str | None = None
    ) -> None:
        site, progress = self._site, self._progress
        with site.spool.store.tx():
            site.journal.move(self.key, LocalState.ENDED, site.clock.wall())
            if self._wish is Wish.FENCE:
                site.spool.forget_placement(*self.key)
                return
            site.spool.add_report(
                *self.key,
                kind,
                rfc3339(at or site.clock.now()),
                step=progress.step,
                total_steps=progress.total,
                exit_code=exit_code,
                reason=reason,
            )
        log.info("placement %s: %s %s %s", self.key[0], kind, "" if exit_code is None else exit_code, reason or "")


def run_folder(folder: Path, run: int) -> Path:
    return folder / f"run-{run}"


def program_environment(
    order: Order, base: Mapping[str, str], work_dir: Path, checkpoints: Path, resume_from: Path | None
) -> dict[str, str]:
    """All that the program sees: little of the agent's, nothing secret, then the order's, then the contract, which wins."""
    gpus = ",".join(str(index) for index in order.gpu_indices)
    contract = {
        "GRIDBROKER_JOB_ID": order.workload_id,
        "GRIDBROKER_ATTEMPT": str(order.attempt),
        "GRIDBROKER_CHECKPOINT_DIR": str(checkpoints),
        "GRIDBROKER_GRACE_S": str(order.grace_s),
        "NVIDIA_VISIBLE_DEVICES": gpus or "void",
        # A plain process has no container runtime to heed the line above.
        "CUDA_VISIBLE_DEVICES": gpus,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    if resume_from is not None:
        contract["GRIDBROKER_RESUME_FROM"] = str(resume_from)
    own = {"HOME": str(work_dir), "PYTHONUNBUFFERED": "1"}
    path = os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", os.defpath)])
    ordered = {name: value for name, value in order.environment.items() if not name.startswith("GRIDBROKER_")}
    return {**base, "PATH": path, **own, **ordered, **contract}
