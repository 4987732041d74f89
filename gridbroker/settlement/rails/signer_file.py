"""The receipts' signing key in a file that only its owner can read, made on first use."""

import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from gridbroker.core.errors import GridbrokerError

_OTHERS = 0o077


class BadSigningKey(GridbrokerError):
    code, title = "bad_signing_key", "The signing key cannot be used"


class FileSigner:
    """Ed25519 with a PKCS#8 PEM file. Processes that start together end up with the same key."""

    def __init__(self, path: Path) -> None:
        """Raises BadSigningKey when the file is not an Ed25519 key or others may read it."""
        if not path.exists():
            _create(path)
        self._key = _load(path)

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def _load(path: Path) -> Ed25519PrivateKey:
    if path.stat().st_mode & _OTHERS:
        raise BadSigningKey(f"Others may read {path}: run chmod 600 on it, and replace the key if they may have.")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise BadSigningKey(f"{path} is not a PEM private key.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadSigningKey(f"{path} is not an Ed25519 key.")
    return key


def _create(path: Path) -> None:
    """Write a whole key beside the path, then link it there: whoever links first wins, and nobody reads half a key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # 0600 by its contract
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        Path(temporary).unlink()
