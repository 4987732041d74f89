"""Small secrets kept on disk for this user only."""

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

PASSWORD_BYTES = 24


def passwords(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Passwords by name from `path`, made and written there (mode 0600, whole or not at all) when the file is not there yet."""
    if path.exists():
        return json.loads(path.read_text())
    made = {name: secrets.token_urlsafe(PASSWORD_BYTES) for name in names}
    write(path, json.dumps(made))
    return made


def write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
