"""The signing key on disk."""

import multiprocessing
from pathlib import Path

import pytest

from gridbroker.settlement.rails.signer_file import BadSigningKey, FileSigner


def _public_key(path: Path) -> bytes:
    return FileSigner(path).public_key


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    path = tmp_path / "keys" / "receipts.ed25519"
    assert FileSigner(path).public_key == FileSigner(path).public_key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_processes_that_start_together_share_one_key(tmp_path):
    path = tmp_path / "receipts.ed25519"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_public_key, [path] * 6))) == 1


def test_a_key_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "key"
    FileSigner(path)
    path.chmod(0o644)
    with pytest.raises(BadSigningKey, match="chmod 600"):
        FileSigner(path)


def test_a_file_that_is_no_key_is_refused(tmp_path):
    path = tmp_path / "key"
    path.write_text("not a key")
    path.chmod(0o600)
    with pytest.raises(BadSigningKey, match="not a PEM"):
        FileSigner(path)
