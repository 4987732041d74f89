"""Merkle trees as in RFC 6962 (2.1): root, inclusion proof, and its verification (RFC 9162, 2.1.3.2). SHA-256."""

import hashlib
from collections.abc import Sequence

EMPTY_ROOT = hashlib.sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes."""
    return _levels(leaves)[-1][0] if leaves else EMPTY_ROOT


def proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Sibling hashes from the leaf at `index` up to the root. Raises IndexError outside the tree."""
    return proofs(leaves, [index])[0]


def proofs(leaves: Sequence[bytes], indices: Sequence[int]) -> list[list[bytes]]:
    """A proof for each index, hashing the tree once."""
    if any(not 0 <= index < len(leaves) for index in indices):
        raise IndexError("no such leaf")
    levels = _levels(leaves)
    return [_path(levels, index) for index in indices]


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether `leaf` (a leaf hash) is at `index` in the tree of `size` leaves with `expected_root`."""
    if not 0 <= index < size:
        return False
    position, last, computed = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if position % 2 or position == last:
            computed = node_hash(sibling, computed)
            while position % 2 == 0 and position:
                position, last = position // 2, last // 2
        else:
            computed = node_hash(computed, sibling)
        position, last = position // 2, last // 2
    return last == 0 and computed == expected_root


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """The tree from the leaves up. An odd last node rises unchanged, which gives exactly RFC 6962's split at a power of two."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = [node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)]
        levels.append(pairs + below[len(pairs) * 2 :])
    return levels


def _path(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    path: list[bytes] = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index //= 2
    return path
