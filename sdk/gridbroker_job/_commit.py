"""The atomic commit: step-N.tmp, fsync, rename to step-N, then step-N/COMMITTED."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

COMMITTED = "COMMITTED"
_CHUNK_BYTES = 1024 * 1024


def commit(checkpoint_dir: Path, step: int, write: Callable[[Path], object]) -> Path:
    """Has `write` fill a new folder and makes it the checkpoint of `step`. Committing a committed step again changes nothing."""
    target, partial = checkpoint_dir / f"step-{step}", checkpoint_dir / f"step-{step}.tmp"
    if (target / COMMITTED).exists():
        return target
    for leftover in (target, partial):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    for path in (*files, *(path for path in partial.rglob("*") if path.is_dir()), partial):
        _fsync(path)
    partial.rename(target)
    _fsync(checkpoint_dir)
    size = sum((target / path.relative_to(partial)).stat().st_size for path in files)
    mark = {"step": step, "bytes": size, "sha256": manifest_sha256(target)}
    unmarked = target.with_name(f"step-{step}.mark")
    unmarked.write_text(json.dumps(mark))
    _fsync(unmarked)
    unmarked.rename(target / COMMITTED)
    _fsync(target)
    return target


def manifest_sha256(checkpoint: Path) -> str:
    """Over one `sha256  bytes  path` line per file, sorted by path, without the commit mark itself."""
    lines: list[tuple[str, str]] = []
    for path in checkpoint.rglob("*"):
        name = path.relative_to(checkpoint).as_posix()
        if path.is_file() and name != COMMITTED:
            lines.append((name, f"{_sha256(path)}  {path.stat().st_size}  {name}\n"))
    return hashlib.sha256("".join(line for _, line in sorted(lines)).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
