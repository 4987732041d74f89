"""Checkpoint bytes, stored by what they are: `<folder>/<owner>/<sha256>`. A file appears whole and with the right hash, or not."""

import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable
from uuid import UUID

from gridbroker.core.errors import FieldError, Invalid, NotFound, TooLarge

_SHA256 = re.compile(r"[0-9a-f]{64}")
CHUNK_BYTES = 1024 * 1024


class HashMismatch(Invalid):
    code, title = "hash_mismatch", "The bytes do not have the hash that they were sent under"


@runtime_checkable
class BlobStore(Protocol):
    def size(self, owner: UUID, sha256: str) -> int | None:
        """Bytes of a stored blob, or None."""
        ...

    async def put(self, owner: UUID, sha256: str, body: AsyncIterator[bytes], *, max_bytes: int) -> int: ...

    def read(self, owner: UUID, sha256: str) -> Iterable[bytes]: ...

    def forget(self, owner: UUID) -> None: ...


class FolderBlobs:
    """Blobs in a local folder. `owner` is the workload, so no customer's bytes can be asked for under another's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def size(self, owner: UUID, sha256: str) -> int | None:
        path = self._path(owner, sha256)
        return path.stat().st_size if path.exists() else None

    async def put(self, owner: UUID, sha256: str, body: AsyncIterator[bytes], *, max_bytes: int) -> int:
        """Store a stream and return its size. Raises HashMismatch or TooLarge, leaving nothing behind."""
        target = self._path(owner, sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{sha256}.{secrets.token_hex(8)}.part")
        try:
            size = await _write(part, sha256, body, max_bytes)
            part.replace(target)
            _sync_folder(target.parent)
        finally:
            part.unlink(missing_ok=True)
        return size

    def read(self, owner: UUID, sha256: str) -> Iterable[bytes]:
        path = self._path(owner, sha256)
        if not path.exists():
            raise NotFound("There is no such blob.")
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def forget(self, owner: UUID) -> None:
        folder = self._folder / str(owner)
        for path in folder.glob("*"):
            path.unlink(missing_ok=True)
        if folder.exists():
            folder.rmdir()

    def _path(self, owner: UUID, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise Invalid(
                "A blob is named by its SHA-256 in lower-case hexadecimal.", errors=[FieldError("/sha256", "not a SHA-256")]
            )
        return self._folder / str(owner) / sha256


def _sync_folder(folder: Path) -> None:
    """Make a rename in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _write(path: Path, sha256: str, body: AsyncIterator[bytes], max_bytes: int) -> int:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for chunk in body:
            size += len(chunk)
            if size > max_bytes:
                raise TooLarge(f"A blob may have {max_bytes} bytes at most.")
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != sha256:
        raise HashMismatch(
            f"These {size} bytes hash to {digest.hexdigest()}.", errors=[FieldError("/sha256", "does not match the body")]
        )
    return size
