"""Checkpoints on disk: which are committed, what they contain, how they come back on another node.

A program commits by renaming a finished folder to `step-N` and then writing `step-N/COMMITTED` (JSON: step, bytes, sha256 of the
manifest). Nothing without that file is ever looked at, so a crash half-way cannot become a resume point.
"""

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from gridbroker.node_agent.protocol import CheckpointFile, ResumePoint, manifest_bytes

COMMITTED = "COMMITTED"
KEEP_LAST = 2
CHUNK_BYTES = 1024 * 1024
_STEP = re.compile(r"step-(\d{1,18})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BadCheckpoint(Exception):
    """It can never be used: a torn one, one with a link inside, or one whose paths leave its folder."""


def step_dir(folder: Path, step: int) -> Path:
    return folder / f"step-{step}"


def committed_steps(folder: Path) -> list[int]:
    """Steps of the committed checkpoints, oldest first."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names alone, several times a second
    except FileNotFoundError:
        return []
    matches = [_STEP.fullmatch(name) for name in names]
    return sorted(int(match[1]) for match in matches if match and (folder / match[0] / COMMITTED).is_file())


def describe(checkpoint: Path) -> tuple[CheckpointFile, ...]:
    """Its files with sizes and hashes, by path. Raises BadCheckpoint, and FileNotFoundError when it was removed meanwhile."""
    files = tuple(_describe_file(checkpoint, path) for path in sorted(checkpoint.rglob("*")) if _counts(checkpoint, path))
    claimed = _claimed_hash(checkpoint / COMMITTED)
    if claimed is not None and claimed != manifest_sha256(files):
        raise BadCheckpoint(f"{checkpoint.name}: the files are not those that were committed")
    return files


def manifest_sha256(files: tuple[CheckpointFile, ...]) -> str:
    return hashlib.sha256(manifest_bytes(files)).hexdigest()


def check_resume_point(resume: ResumePoint) -> None:
    """Raises BadCheckpoint when a path is absolute, climbs out, stands twice or hides the commit mark, or a hash is none."""
    paths = [file.path for file in resume.files]
    if resume.step < 0 or len(set(paths)) != len(paths):
        raise BadCheckpoint("the resume point is malformed")
    for file in resume.files:
        path = PurePosixPath(file.path)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in file.path or path.parts == (COMMITTED,):
            raise BadCheckpoint(f"the resume point names a path that leaves its folder: {file.path!r}")
        if str(path) != file.path or not _SHA256.fullmatch(file.sha256) or file.bytes < 0:
            raise BadCheckpoint(f"the resume point describes {file.path!r} wrongly")


def matches(path: Path, file: CheckpointFile) -> bool:
    """Whether the file on disk is the one described."""
    return path.is_file() and path.stat().st_size == file.bytes and _sha256(path) == file.sha256


def commit(partial: Path, checkpoint: Path, resume: ResumePoint) -> None:
    """Makes a completely downloaded folder a committed checkpoint."""
    if checkpoint.exists():
        shutil.rmtree(checkpoint)
    partial.rename(checkpoint)
    mark = {"step": resume.step, "bytes": sum(file.bytes for file in resume.files), "sha256": manifest_sha256(resume.files)}
    (checkpoint / COMMITTED).write_text(json.dumps(mark))


def prune(folder: Path, needed: Iterable[int]) -> None:
    """Removes committed checkpoints, all but the newest two and those still needed."""
    steps = committed_steps(folder)
    for step in set(steps[:-KEEP_LAST]) - set(needed):
        shutil.rmtree(step_dir(folder, step), ignore_errors=True)


def _counts(checkpoint: Path, path: Path) -> bool:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        return False
    if not stat.S_ISREG(mode):
        raise BadCheckpoint(f"{checkpoint.name}: {path.relative_to(checkpoint)} is not a regular file")
    return path != checkpoint / COMMITTED


def _describe_file(checkpoint: Path, path: Path) -> CheckpointFile:
    return CheckpointFile(path=path.relative_to(checkpoint).as_posix(), bytes=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _claimed_hash(mark: Path) -> str | None:
    """Other kits may write a COMMITTED without a hash; one that has it must be right."""
    try:
        content = json.loads(mark.read_text())
    except ValueError:
        return None
    claimed = content.get("sha256") if isinstance(content, dict) else None
    return claimed if isinstance(claimed, str) else None
