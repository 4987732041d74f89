"""A program's side of the checkpoint contract."""

import os
import select
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from gridbroker_job._commit import COMMITTED, commit

EXIT_RESUME_ME = 75
"""EX_TEMPFAIL: checkpointed, start me again."""
_KEEP_LAST = 2


class Job:
    """Make one at the start of the main thread: it installs the signal handlers.

    Outside Gridbroker nothing is resumed and commits go to `checkpoint_dir`, or nowhere without one.
    """

    def __init__(self, checkpoint_dir: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment  # noqa: TID251 - the contract is the environment
        self.id = environment.get("GRIDBROKER_JOB_ID")
        self.attempt = int(environment.get("GRIDBROKER_ATTEMPT", "1"))
        """1 for the first run of the workload, then counting up."""
        self.grace_s = float(environment.get("GRIDBROKER_GRACE_S", "30"))
        """Between SIGTERM and SIGKILL."""
        resume_from = environment.get("GRIDBROKER_RESUME_FROM")
        self.resume_from = Path(resume_from) if resume_from else None
        """The committed checkpoint to go on from."""
        folder = environment.get("GRIDBROKER_CHECKPOINT_DIR")
        self.checkpoint_dir = Path(folder) if folder else checkpoint_dir
        self._is_managed = folder is not None
        # Plain flags and a pipe: a handler that takes a lock may wait for the very code it interrupted.
        self._is_stopping = False
        self._checkpoint_now = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._committed_step: int | None = None
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGUSR1, self._on_checkpoint)

    @property
    def should_stop(self) -> bool:
        """SIGTERM came: commit, then `exit_if_stopped`."""
        return self._is_stopping

    @property
    def is_managed(self) -> bool:
        """Whether Gridbroker started this program."""
        return self._is_managed

    def steps(self, total: int, start: int = 0) -> Iterator[int]:
        """The numbers start+1 .. total, each the count of steps done after it; ends early when asked to stop."""
        for step in range(start + 1, total + 1):
            if self.should_stop:
                return
            yield step

    def should_checkpoint(self, step: int, every: int = 0) -> bool:
        """SIGUSR1 came, or `step` is a multiple of `every`."""
        return self._checkpoint_now or (every > 0 and step % every == 0)

    def commit(self, step: int, write: Callable[[Path], object]) -> Path | None:
        """Makes the folder that `write` fills the checkpoint of `step`, atomically. None when there is nowhere to put it."""
        self._checkpoint_now = False
        if self.checkpoint_dir is None:
            return None
        checkpoint = commit(self.checkpoint_dir, step, write)
        self._committed_step = step
        if not self._is_managed:
            self._prune(self.checkpoint_dir)
        return checkpoint

    def progress(self, step: int, total: int | None = None) -> None:
        """Tells how far the program is. Cheap enough to call at every step."""
        if self._is_managed:
            print(f"gridbroker:progress step={step}" + (f" total={total}" if total is not None else ""), flush=True)  # noqa: T201

    def wait(self, timeout_s: float) -> bool:
        """Sleeps, but wakes at once for SIGTERM; true when asked to stop."""
        if not self._is_stopping:
            select.select([self._wake_reader], [], [], max(0.0, timeout_s))
        return self._is_stopping

    def exit_if_stopped(self) -> None:
        """Ends the program when it was asked to stop: 75 with something to resume from, else 143."""
        if self.should_stop:
            can_resume = self._committed_step is not None or self.resume_from is not None
            sys.exit(EXIT_RESUME_ME if can_resume else 128 + signal.SIGTERM)

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if not self._is_stopping:
            self._is_stopping = True
            os.write(self._wake_writer, b"!")

    def _on_checkpoint(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._checkpoint_now = True

    @staticmethod
    def _prune(folder: Path) -> None:
        steps = sorted(int(path.parent.name.removeprefix("step-")) for path in folder.glob(f"step-*/{COMMITTED}"))
        for step in steps[:-_KEEP_LAST]:
            shutil.rmtree(folder / f"step-{step}", ignore_errors=True)
