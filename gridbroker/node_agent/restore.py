"""Brings the checkpoint that a placement resumes from onto this node: every byte checked before the program may see it."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from gridbroker.node_agent import checkpoint
from gridbroker.node_agent.backoff import delay_s
from gridbroker.node_agent.checkpoint import BadCheckpoint
from gridbroker.node_agent.client import Client, Refused, Unreachable
from gridbroker.node_agent.protocol import CheckpointFile, ResumePoint

MAX_BAD_DOWNLOADS = 5
"""A blob that arrives wrong this often in a row is wrong at its source."""

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """The placement was stopped while its checkpoint was on its way."""


def restore(client: Client, placement_id: str, resume: ResumePoint, folder: Path, wait_or_stop: Callable[[float], bool]) -> Path:
    """The committed checkpoint folder. Waits out an unreachable server; `wait_or_stop` sleeps and is true when to give up.

    Raises BadCheckpoint, Interrupted, or Refused (409: the lease is no longer ours).
    """
    checkpoint.check_resume_point(resume)
    target = checkpoint.step_dir(folder, resume.step)
    if (target / checkpoint.COMMITTED).is_file() and all(checkpoint.matches(target / file.path, file) for file in resume.files):
        return target
    partial = folder / f"step-{resume.step}.download"
    partial.mkdir(parents=True, exist_ok=True)
    for file in resume.files:
        _fetch(client, f"/api/v1/nodes/self/placements/{placement_id}/blobs/{file.sha256}", partial / file.path, file, wait_or_stop)
    _remove_strangers(partial, resume)
    checkpoint.commit(partial, target, resume)
    return target


def _fetch(client: Client, path: str, target: Path, file: CheckpointFile, wait_or_stop: Callable[[float], bool]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = bad = 0
    while not checkpoint.matches(target, file):
        if wait_or_stop(delay_s(failures) if failures else 0.0):
            raise Interrupted
        failures += 1
        try:
            client.download(path, target, file.bytes)
        except Unreachable as error:
            log.warning("checkpoint file %s: %s", file.path, error)
            continue
        except Refused as refusal:
            if refusal.status == 404:
                raise BadCheckpoint(f"the broker has no file {file.path!r} of the checkpoint") from None
            raise
        if not checkpoint.matches(target, file):
            bad += 1
            log.warning("checkpoint file %s: its bytes are not those announced", file.path)
            if bad >= MAX_BAD_DOWNLOADS:
                raise BadCheckpoint(f"checkpoint file {file.path!r} arrived wrong {bad} times")


def _remove_strangers(partial: Path, resume: ResumePoint) -> None:
    """What an earlier attempt may have left there for another resume point of the same step."""
    wanted = {partial / file.path for file in resume.files}
    for path in [path for path in partial.rglob("*") if not path.is_dir() and path not in wanted]:
        path.unlink()
    for path in sorted((path for path in partial.rglob("*") if path.is_dir()), reverse=True):
        if not any(path in keep.parents for keep in wanted):
            shutil.rmtree(path, ignore_errors=True)
