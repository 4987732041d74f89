"""What the server has not heard yet. Survives restarts and days offline, in order, and bounded.

Messages stand in *lanes*: one for all samples, per placement one for its logs and reports and one for its checkpoints. A lane is
delivered strictly in order; lanes do not wait for each other, except that `exited` waits until the samples and checkpoints
written before it are delivered.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Row

from gridbroker.node_agent import codec
from gridbroker.node_agent.protocol import (
    MAX_LOG_LINES_PER_BATCH,
    MAX_SAMPLES_PER_BATCH,
    LogLine,
    Report,
    ReportKind,
    Sample,
)
from gridbroker.node_agent.store import Store

SAMPLES_LANE = "samples"
PLACEMENT_LANE = "placement:"
CHECKPOINT_LANE = "checkpoint:"

MAX_BATCH_BYTES = 512 * 1024
"""Half of what the server takes in one body."""
MAX_UNSENT_LOG_BYTES = 4 * 1024 * 1024
"""Per placement. Beyond this its pipes are not read, so the program waits instead of the spool growing."""
MAX_UNSENT_SAMPLES = 100_000
"""Beyond this every second unsent sample goes; the counter in the others still holds all the energy."""

_INSERT = "insert into messages (lane, kind, placement_id, epoch, body, bytes) values (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The head of a lane: messages of one kind that travel together."""

    lane: str
    kind: str
    ids: tuple[int, ...]
    placement_id: str
    epoch: int
    bodies: tuple[str, ...]


class Spool:
    def __init__(self, store: Store, max_unsent_samples: int = MAX_UNSENT_SAMPLES) -> None:
        self.store = store
        self._max_unsent_samples = max_unsent_samples
        found = store.rows("select lane, sum(bytes) as bytes from messages where kind = 'log' group by lane")
        self._log_bytes: dict[str, int] = {row["lane"]: row["bytes"] for row in found}
        self._unsent_samples: int = store.rows("select count(*) as n from messages where lane = ?", SAMPLES_LANE)[0]["n"]

    # Writing ------------------------------------------------------------------------------------------------------------------

    def add_samples(self, boot_id: str, samples: Sequence[Sample], *, edge: bool) -> None:
        """`edge` samples bound a placement and are never thinned out."""
        kind = f"edge {boot_id}" if edge else f"sample {boot_id}"
        with self.store.tx():
            for sample in samples:
                self._add(SAMPLES_LANE, kind, "", 0, codec.encode(sample))
            self._unsent_samples += len(samples)
            if self._unsent_samples > self._max_unsent_samples:
                self._thin_samples()

    def add_logs(self, placement_id: str, epoch: int, lines: Sequence[tuple[str, str, str]]) -> None:
        """`lines` are (at, stream, text)."""
        lane = PLACEMENT_LANE + placement_id
        with self.store.tx() as db:
            first = self.store.count(f"log:{placement_id}", len(lines)) - len(lines) + 1
            bodies = [
                codec.encode(LogLine(seq=first + n, at=at, stream=stream, text=text)) for n, (at, stream, text) in enumerate(lines)
            ]
            rows = [(lane, "log", placement_id, epoch, body, len(body.encode())) for body in bodies]
            db.executemany(_INSERT, rows)
            self._log_bytes[lane] = self._log_bytes.get(lane, 0) + sum(row[5] for row in rows)

    def add_report(
        self,
        placement_id: str,
        epoch: int,
        kind: ReportKind,
        at: str,
        *,
        step: int | None = None,
        total_steps: int | None = None,
        exit_code: int | None = None,
        reason: str | None = None,
    ) -> None:
        lane = PLACEMENT_LANE + placement_id
        with self.store.tx() as db:
            if kind is ReportKind.PROGRESS:
                # Latest wins: an hour offline is worth one progress report, not 3,600.
                db.execute("delete from messages where lane = ? and kind = ?", (lane, kind))
            report = Report(
                epoch=epoch,
                seq=self.store.count(f"report:{placement_id}"),
                kind=kind,
                at=at,
                step=step,
                total_steps=total_steps,
                exit_code=exit_code,
                reason=reason,
            )
            self._add(lane, kind, placement_id, epoch, codec.encode(report))

    def add_checkpoint(self, placement_id: str, epoch: int, step: int) -> None:
        """Waiting older ones are dropped, except the first, which may be on its way: no storm of commits can starve the upload."""
        lane = CHECKPOINT_LANE + placement_id
        with self.store.tx() as db:
            db.execute("delete from messages where lane = ? and id > (select min(id) from messages where lane = ?)", (lane, lane))
            self._add(lane, "checkpoint", placement_id, epoch, json.dumps({"step": step}))

    def _add(self, lane: str, kind: str, placement_id: str, epoch: int, body: str) -> None:
        with self.store.tx() as db:
            db.execute(_INSERT, (lane, kind, placement_id, epoch, body, len(body.encode())))

    def _thin_samples(self) -> None:
        with self.store.tx() as db:
            db.execute(
                "delete from messages where id in (select id from (select id, kind, row_number() over "
                "(partition by json_extract(body, '$.gpu_index') order by id) as place from messages where lane = ?) "
                "where kind like 'sample %' and place % 2 = 0)",
                (SAMPLES_LANE,),
            )
            self._unsent_samples = db.execute("select count(*) from messages where lane = ?", (SAMPLES_LANE,)).fetchone()[0]

    # Reading ------------------------------------------------------------------------------------------------------------------

    def lanes(self) -> list[str]:
        """Lanes with something in them, the one waiting longest first."""
        return [row["lane"] for row in self.store.rows("select lane, min(id) as head from messages group by lane order by head")]

    def backlog(self) -> int:
        return int(self.store.rows("select count(*) as n from messages")[0]["n"])

    def log_bytes(self, placement_id: str) -> int:
        return self._log_bytes.get(PLACEMENT_LANE + placement_id, 0)

    def holds(self, placement_id: str) -> bool:
        """Whether something of this placement is undelivered."""
        return bool(self.store.rows("select 1 from messages where placement_id = ? limit 1", placement_id))

    def pending_steps(self, placement_id: str) -> set[int]:
        """Checkpoints whose files are still needed here."""
        found = self.store.rows("select body from messages where lane = ?", CHECKPOINT_LANE + placement_id)
        return {json.loads(row["body"])["step"] for row in found}

    def next_batch(self, lane: str, most: int = MAX_SAMPLES_PER_BATCH) -> Batch | None:
        """The head of the lane, at most that many messages; None when it is empty or has to wait for another lane."""
        limit = min(most, MAX_SAMPLES_PER_BATCH)
        rows = self.store.rows("select * from messages where lane = ? order by id limit ?", lane, limit)
        if not rows:
            return None
        head = rows[0]
        if head["kind"] == ReportKind.EXITED and self._must_wait(head):
            return None
        bodies = _fitting(rows)
        return Batch(
            lane=lane,
            kind=head["kind"],
            ids=tuple(row["id"] for row in bodies),
            placement_id=head["placement_id"],
            epoch=head["epoch"],
            bodies=tuple(row["body"] for row in bodies),
        )

    def _must_wait(self, exited: Row) -> bool:
        lanes = (SAMPLES_LANE, CHECKPOINT_LANE + exited["placement_id"])
        return bool(self.store.rows("select 1 from messages where lane in (?, ?) and id < ? limit 1", *lanes, exited["id"]))

    # Done ---------------------------------------------------------------------------------------------------------------------

    def forget(self, batch: Batch) -> None:
        """Delivered, or refused for good."""
        with self.store.tx() as db:
            db.executemany("delete from messages where id = ?", [(number,) for number in batch.ids])
            if batch.kind == "log":
                gone = sum(len(body.encode()) for body in batch.bodies)
                self._log_bytes[batch.lane] = max(0, self._log_bytes.get(batch.lane, 0) - gone)
            if batch.lane == SAMPLES_LANE:
                self._unsent_samples = max(0, self._unsent_samples - len(batch.ids))

    def forget_placement(self, placement_id: str, epoch: int) -> None:
        """Fenced: nothing of this epoch will be taken any more."""
        with self.store.tx() as db:
            db.execute("delete from messages where placement_id = ? and epoch = ?", (placement_id, epoch))
            self._log_bytes.pop(PLACEMENT_LANE + placement_id, None)


def _fitting(rows: Sequence[Row]) -> list[Row]:
    """The longest head of `rows` that is one batch: same kind, placement and epoch, within the bounds of number and bytes."""
    head = rows[0]
    if head["kind"] == "log":
        most = MAX_LOG_LINES_PER_BATCH
    elif head["lane"] == SAMPLES_LANE:
        most = MAX_SAMPLES_PER_BATCH
    else:
        most = 1
    chosen: list[Row] = []
    size = 0
    for row in rows[:most]:
        size += row["bytes"] + 1
        if _batch_key(row) != _batch_key(head) or (chosen and size > MAX_BATCH_BYTES):
            break
        chosen.append(row)
    return chosen


def _batch_key(row: Row) -> tuple[str, int]:
    # Edge and ordinary samples of one boot travel together.
    return str(row["kind"]).removeprefix("edge ").removeprefix("sample "), row["epoch"]
