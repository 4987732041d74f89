"""Trees of receipts: many receipts proved by one anchored root, each tree naming the one before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from gridbroker.settlement import merkle


class ReceiptState(StrEnum):
    SIGNED = "signed"
    BATCHED = "batched"
    """In a tree, with its proof."""
    ANCHORED = "anchored"
    """The tree's root was published where nobody can change it."""


LEGAL_MOVES: dict[ReceiptState, frozenset[ReceiptState]] = {
    ReceiptState.SIGNED: frozenset({ReceiptState.BATCHED}),
    ReceiptState.BATCHED: frozenset({ReceiptState.ANCHORED}),
    ReceiptState.ANCHORED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    tree_id: UUID
    number: int
    """Counts from 1 without gaps."""
    size: int
    root: bytes
    previous_root: bytes
    """Root of tree `number` - 1; of the empty tree for the first."""
    state: ReceiptState
    external_id: str | None = None
    created_at: datetime

    @property
    def memo(self) -> str:
        return memo(self.tree_id, self.size, self.root, self.previous_root)


def grow(tree_id: UUID, leaves: Sequence[bytes], previous: Tree | None, now: datetime) -> Tree:
    """The next tree, over these leaf hashes."""
    return Tree(
        tree_id=tree_id,
        number=previous.number + 1 if previous else 1,
        size=len(leaves),
        root=merkle.root(leaves),
        previous_root=previous.root if previous else merkle.EMPTY_ROOT,
        state=ReceiptState.BATCHED,
        created_at=now,
    )


def memo(tree_id: UUID | str, size: int, root: bytes, previous_root: bytes) -> str:
    """What is anchored: `gridbroker:mr1:<tree>:<size>:<root>:<previous root>`, roots in hexadecimal."""
    return f"gridbroker:mr1:{tree_id}:{size}:{root.hex()}:{previous_root.hex()}"
