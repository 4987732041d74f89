"""Blobs appear whole and true, or not at all, and only where they belong."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from gridbroker.core.blobs import BlobStore, FolderBlobs, HashMismatch
from gridbroker.core.errors import Invalid, NotFound, TooLarge

OWNER, OTHER = UUID(int=1), UUID(int=2)
DATA = b"weights" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


async def stream(*chunks: bytes, fails: bool = False) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if fails:
        raise ConnectionError("the client went away")


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_what_is_put_is_read_back_under_its_owner_alone(blobs, tmp_path):
    assert isinstance(blobs, BlobStore)
    assert blobs.size(OWNER, SHA256) is None
    for _ in range(2):
        assert await blobs.put(OWNER, SHA256, stream(DATA[:5], DATA[5:]), max_bytes=len(DATA)) == len(DATA)
    assert b"".join(blobs.read(OWNER, SHA256)) == DATA and blobs.size(OWNER, SHA256) == len(DATA)
    assert blobs.size(OTHER, SHA256) is None
    with pytest.raises(NotFound):
        list(blobs.read(OTHER, SHA256))
    assert files(tmp_path) == [f"blobs/{OWNER}/{SHA256}"]


async def test_an_empty_blob_is_a_blob(blobs):
    empty = hashlib.sha256(b"").hexdigest()
    assert await blobs.put(OWNER, empty, stream(), max_bytes=10) == 0
    assert list(blobs.read(OWNER, empty)) == [] and blobs.size(OWNER, empty) == 0


@pytest.mark.parametrize(
    ("body", "limit", "error"),
    [
        (stream(DATA, b"x"), 10**9, HashMismatch),
        (stream(DATA[:-1]), 10**9, HashMismatch),
        (stream(DATA), len(DATA) - 1, TooLarge),
        (stream(DATA[:10], fails=True), 10**9, ConnectionError),
    ],
)
async def test_what_goes_wrong_leaves_nothing(blobs, tmp_path, body, limit, error):
    with pytest.raises(error):
        await blobs.put(OWNER, SHA256, body, max_bytes=limit)
    assert files(tmp_path) == [] and blobs.size(OWNER, SHA256) is None


async def test_a_failed_second_upload_leaves_the_first(blobs):
    await blobs.put(OWNER, SHA256, stream(DATA), max_bytes=10**9)
    with pytest.raises(HashMismatch):
        await blobs.put(OWNER, SHA256, stream(b"other"), max_bytes=10**9)
    assert b"".join(blobs.read(OWNER, SHA256)) == DATA


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../" + "a" * 61,
        "a" * 63,
        "a" * 65,
        "A" * 64,
        "g" * 64,
        "a" * 64 + "\n",
        "a" * 63 + "\0",
        "/etc/passwd",
        "/" + "a" * 63,
    ],
)
async def test_a_name_that_is_no_hash_reaches_no_file(blobs, tmp_path, name):
    with pytest.raises(Invalid):
        blobs.size(OWNER, name)
    with pytest.raises(Invalid):
        await blobs.put(OWNER, name, stream(DATA), max_bytes=10**9)
    with pytest.raises(Invalid):
        list(blobs.read(OWNER, name))
    assert files(tmp_path) == []


async def test_forgetting_an_owner_takes_only_theirs(blobs, tmp_path):
    for owner in (OWNER, OTHER):
        await blobs.put(owner, SHA256, stream(DATA), max_bytes=10**9)
    for _ in range(2):
        blobs.forget(OWNER)
    assert files(tmp_path) == [f"blobs/{OTHER}/{SHA256}"]
