"""One owner per folder. The kernel drops the lock when its owner dies, however it dies, so no lock is ever stale."""

import fcntl
import os
from pathlib import Path
from typing import Self

from gridbroker.core.errors import Conflict


class DataDirInUse(Conflict):
    code, title = "data_dir_in_use", "Another Gridbroker works on this folder"


class FolderLock:
    """An exclusive lock on a folder, kept in the file `lock` inside it."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @classmethod
    def acquire(cls, folder: Path) -> Self:
        """Raises DataDirInUse naming the process that holds it."""
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise DataDirInUse(f"Process {owner} uses {folder}. Stop it first, or choose another folder.") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return cls(fd)

    def release(self) -> None:
        """Safe to call twice. The file stays: removing it would let two owners lock two files of one name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
