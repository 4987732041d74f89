"""Hints: messages that say "look at this row soon". A lost hint costs one sweep interval, never correctness."""

from typing import Protocol, runtime_checkable
from uuid import UUID


@runtime_checkable
class Queue(Protocol):
    def hint(self, name: str, row_id: UUID) -> None:
        """Announce a row to the actor called `name`, such as "workload.advance". Never blocks, never raises."""
        ...


class RecordingQueue:
    """A queue that keeps what it was told, for tests that drain it themselves."""

    def __init__(self) -> None:
        self.hints: list[tuple[str, UUID]] = []

    def hint(self, name: str, row_id: UUID) -> None:
        self.hints.append((name, row_id))

    def take(self) -> list[tuple[str, UUID]]:
        taken, self.hints = self.hints, []
        return taken
