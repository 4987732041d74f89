"""The agent's one SQLite file. Whatever must not be lost or done twice is written here before anything else happens."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
create table if not exists messages (
    id integer primary key autoincrement,
    lane text not null,
    kind text not null,
    placement_id text not null default '',
    epoch integer not null default 0,
    body text not null,
    bytes integer not null
);
create index if not exists messages_by_lane on messages (lane, id);
create table if not exists placements (
    placement_id text not null,
    epoch integer not null,
    state text not null,
    order_json text not null,
    runs integer not null default 0,
    uploaded_step integer not null default -1,
    kill_at text,
    changed_at text not null,
    primary key (placement_id, epoch)
);
create table if not exists counters (name text primary key, value integer not null);
create table if not exists gpus (
    gpu_index integer primary key,
    seq integer not null,
    at text not null,
    energy_mj integer not null,
    remainder_nj integer not null,
    raw_mj integer
);
create table if not exists facts (name text primary key, value text not null);
"""


class Store:
    """One connection under one lock. `changed` is notified after each commit."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode = wal")
        # A power cut must not take back a sequence number that the server has already seen.
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_SCHEMA)
        self.changed = threading.Condition(threading.RLock())
        self._depth = 0
        self.version = 0

    @contextmanager
    def tx(self) -> Iterator[sqlite3.Connection]:
        """One atomic write; inside another one, part of it."""
        with self.changed:
            if self._depth == 0:
                self._db.execute("begin immediate")
            self._depth += 1
            try:
                yield self._db
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._db.execute("rollback")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._db.execute("commit")
                self.version += 1
                self.changed.notify_all()

    def rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        with self.changed:
            return self._db.execute(statement, values).fetchall()

    def fact(self, name: str) -> str | None:
        found = self.rows("select value from facts where name = ?", name)
        return found[0]["value"] if found else None

    def set_fact(self, name: str, value: str) -> None:
        with self.tx() as db:
            db.execute("insert or replace into facts (name, value) values (?, ?)", (name, value))

    def count(self, name: str, by: int = 1) -> int:
        """Adds to a counter and answers its new value; counters start at 0."""
        with self.tx() as db:
            row = db.execute(
                "insert into counters (name, value) values (?, ?) "
                "on conflict (name) do update set value = value + ? returning value",
                (name, by, by),
            ).fetchone()
            return int(row["value"])

    def wait_for_change(self, seen_version: int, timeout_s: float) -> None:
        """Returns when something was committed after `seen_version`, or after the time."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != seen_version, timeout_s)

    def wake(self) -> None:
        """Lets every waiter look again."""
        with self.changed:
            self.version += 1
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self._db.close()
