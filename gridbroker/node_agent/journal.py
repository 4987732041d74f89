"""Which placements this node was ordered to run and how far each got: what the next start recovers from."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gridbroker.node_agent import codec
from gridbroker.node_agent.clock import parse_rfc3339, rfc3339
from gridbroker.node_agent.protocol import Order
from gridbroker.node_agent.store import Store

REMEMBER = timedelta(days=30)
"""An ended placement is remembered this long, so that a late order cannot start it again."""


class LocalState(StrEnum):
    ACCEPTED = "accepted"
    """Ordered; its program may or may not have been started."""
    RUNNING = "running"
    ENDED = "ended"
    """Its last report is spooled. Never starts again."""
    CLEARED = "cleared"
    """Ended, delivered, its folder removed."""


LIVE = frozenset({LocalState.ACCEPTED, LocalState.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    order: Order
    state: LocalState
    runs: int
    """Run folders used so far."""
    uploaded_step: int
    """Newest checkpoint step that was handed to the spool; -1 for none."""
    kill_at: datetime | None
    """Wall time after which the program, already asked to stop, is killed."""

    @property
    def key(self) -> tuple[str, int]:
        return self.order.placement_id, self.order.epoch


class Journal:
    def __init__(self, store: Store) -> None:
        self.store = store

    def accept(self, order: Order, at: datetime) -> None:
        with self.store.tx() as db:
            db.execute(
                "insert or ignore into placements (placement_id, epoch, state, order_json, changed_at) values (?, ?, ?, ?, ?)",
                (order.placement_id, order.epoch, LocalState.ACCEPTED, codec.encode(order), rfc3339(at)),
            )

    def move(self, key: tuple[str, int], state: LocalState, at: datetime) -> None:
        with self.store.tx() as db:
            db.execute(
                "update placements set state = ?, changed_at = ? where placement_id = ? and epoch = ?", (state, rfc3339(at), *key)
            )

    def begin_run(self, key: tuple[str, int]) -> int:
        """The number of a run folder that was never used before."""
        with self.store.tx() as db:
            row = db.execute(
                "update placements set runs = runs + 1 where placement_id = ? and epoch = ? returning runs", key
            ).fetchone()
            return int(row["runs"])

    def set_uploaded_step(self, key: tuple[str, int], step: int) -> None:
        with self.store.tx() as db:
            db.execute("update placements set uploaded_step = ? where placement_id = ? and epoch = ?", (step, *key))

    def set_kill_at(self, key: tuple[str, int], wall: datetime) -> None:
        with self.store.tx() as db:
            db.execute("update placements set kill_at = ? where placement_id = ? and epoch = ?", (rfc3339(wall), *key))

    def entries(self) -> list[Entry]:
        return [
            Entry(
                order=codec.decode(Order, json.loads(row["order_json"])),
                state=LocalState(row["state"]),
                runs=row["runs"],
                uploaded_step=row["uploaded_step"],
                kill_at=None if row["kill_at"] is None else parse_rfc3339(row["kill_at"]),
            )
            for row in self.store.rows("select * from placements order by placement_id, epoch")
        ]

    def entry(self, key: tuple[str, int]) -> Entry:
        return next(entry for entry in self.entries() if entry.key == key)

    def prune(self, now: datetime) -> None:
        with self.store.tx() as db:
            db.execute("delete from placements where state = ? and changed_at < ?", (LocalState.CLEARED, rfc3339(now - REMEMBER)))
            db.execute("delete from counters where substr(name, instr(name, ':') + 1) not in (select placement_id from placements)")
