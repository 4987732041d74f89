"""Taking in what agents report. Nothing here moves a workload: it notes what was seen and makes the row due."""

import hashlib
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from uuid import UUID

from gridbroker.broker import repository
from gridbroker.broker.models import workloads
from gridbroker.broker.rows import CheckpointRow, LogRow, PlacementRow
from gridbroker.broker.workload import PlacementState
from gridbroker.core.blobs import BlobStore, HashMismatch
from gridbroker.core.claims import wake
from gridbroker.core.clock import Clock
from gridbroker.core.db import Tx
from gridbroker.core.errors import Conflict, FieldError, Invalid, NotFound
from gridbroker.core.ids import derive
from gridbroker.node_agent.protocol import (
    MAX_LOG_LINE_CHARS,
    MAX_LOG_LINES_PER_BATCH,
    CheckpointCommit,
    CheckpointFile,
    LogBatch,
    LogLine,
    Report,
    ReportKind,
    manifest_bytes,
)
from gridbroker.providers.lease import StaleEpoch

MAX_CHECKPOINT_FILES = 10_000
MAX_AHEAD_S = 300
"""Wall seconds that an agent's clock may run ahead before its times are refused."""


class CheckpointIncomplete(Conflict):
    code, title = "checkpoint_incomplete", "Files of this checkpoint are missing"


async def placement_on(tx: Tx, node_id: UUID, placement_id: UUID, epoch: int | None = None, *, lock: bool = False) -> PlacementRow:
    """An open placement on this node. Raises NotFound for another node's, StaleEpoch for one that is over."""
    placement = await repository.find_placement(tx, placement_id, lock=lock)
    if placement is None or placement.node_id != node_id:
        raise NotFound("This node has no such placement.")
    if placement.state is PlacementState.ENDED or (epoch is not None and epoch != placement.number):
        raise StaleEpoch("The placement was closed or handed on; stop it and drop what it would send.")
    return placement


async def take_report(tx: Tx, clock: Clock, node_id: UUID, placement_id: UUID, report: Report) -> UUID | None:
    """Note a report and return the workload to advance; None for a repeated or merely informative one."""
    told_at = _time(report.at, clock, "/at")
    placement = await placement_on(tx, node_id, placement_id, report.epoch, lock=True)
    # Money follows from these times: a node is paid neither for what was before its lease nor for what is still to come.
    at = min(max(told_at, placement.leased_at), clock.now())
    if report.seq <= placement.reported_seq:
        return None
    if report.step is not None:
        _check_steps(report)
        await repository.note_progress(tx, placement.workload_id, report.step, report.total_steps)
    values: dict[str, object] = {"reported_seq": report.seq}
    final = placement.reported in ("exited", "refused")
    match report.kind:
        case ReportKind.RUNNING if not final:
            values |= {"reported": "running", "reported_running_at": placement.reported_running_at or at}
        case ReportKind.EXITED | ReportKind.REFUSED if not final:
            reason = report.reason[:1000].replace("\0", "\ufffd") if report.reason else None
            values |= {"reported": report.kind.value, "reported_ended_at": at, "exit_code": report.exit_code, "reason": reason}
        case _:
            pass
    await repository.update_placement(tx, placement_id, **values)
    if "reported" not in values:
        return None
    await wake(tx, workloads, placement.workload_id)
    return placement.workload_id


async def take_logs(tx: Tx, clock: Clock, node_id: UUID, placement_id: UUID, batch: LogBatch) -> int:
    if len(batch.lines) > MAX_LOG_LINES_PER_BATCH:
        raise Invalid(f"At most {MAX_LOG_LINES_PER_BATCH} lines at once.", errors=[FieldError("/lines", "too many")])
    placement = await placement_on(tx, node_id, placement_id, batch.epoch)
    return await repository.add_logs(tx, placement, [_line(line, index, clock) for index, line in enumerate(batch.lines)])


async def take_checkpoint(
    tx: Tx, clock: Clock, blobs: BlobStore, node_id: UUID, placement_id: UUID, commit: CheckpointCommit
) -> UUID:
    """Record a checkpoint whose files are all here. The same commit again answers with the same id."""
    placement = await placement_on(tx, node_id, placement_id, commit.epoch, lock=True)
    _check_files(commit)
    missing = [file.path for file in commit.files if blobs.size(placement.workload_id, file.sha256) != file.bytes]
    if missing:
        raise CheckpointIncomplete(
            f"Upload {', '.join(missing[:5])} first, then commit again.", reasons={"missing_files": len(missing)}
        )
    checkpoint = CheckpointRow(
        checkpoint_id=derive("checkpoint", placement_id, commit.step),
        org_id=placement.org_id,
        workload_id=placement.workload_id,
        placement_id=placement_id,
        number=placement.number,
        step=commit.step,
        bytes=sum(file.bytes for file in commit.files),
        manifest_sha256=commit.manifest_sha256,
        files=commit.files,
        committed_at=clock.now(),
    )
    if not await repository.add_checkpoint(tx, checkpoint):
        stored = await repository.find_checkpoint(tx, placement_id, commit.step)
        if stored is None or stored.manifest_sha256 != commit.manifest_sha256:
            raise Conflict(f"Step {commit.step} was committed before with other files.")
    return checkpoint.checkpoint_id


def _check_files(commit: CheckpointCommit) -> None:
    problems: list[FieldError] = []
    if not 0 < len(commit.files) <= MAX_CHECKPOINT_FILES:
        problems.append(FieldError("/files", f"needs 1 to {MAX_CHECKPOINT_FILES} files"))
    if commit.step < 0:
        problems.append(FieldError("/step", "must not be negative"))
    for index, file in enumerate(commit.files):
        if not _is_safe(file):
            problems.append(FieldError(f"/files/{index}", "needs a relative path without .., and a size"))
    if len({file.path for file in commit.files}) != len(commit.files):
        problems.append(FieldError("/files", "names a path twice"))
    if problems:
        raise Invalid("; ".join(f"{one.pointer}: {one.detail}" for one in problems), errors=problems)
    if hashlib.sha256(manifest_bytes(commit.files)).hexdigest() != commit.manifest_sha256:
        raise HashMismatch(
            "manifest_sha256 is not the hash of these files.", errors=[FieldError("/manifest_sha256", "does not match")]
        )


def _is_safe(file: CheckpointFile) -> bool:
    path = PurePosixPath(file.path)
    clean = "\0" not in file.path and "\n" not in file.path and 0 < len(file.path) <= 1024
    return clean and not path.is_absolute() and ".." not in path.parts and file.bytes >= 0


def _check_steps(report: Report) -> None:
    total = report.total_steps
    if report.step is not None and (report.step < 0 or report.step >= 2**62 or (total is not None and not 0 < total < 2**62)):
        raise Invalid("Steps must not be negative.", errors=[FieldError("/step", "out of range")])


def _line(line: LogLine, index: int, clock: Clock) -> LogRow:
    if line.stream not in ("stdout", "stderr") or line.seq < 1:
        raise Invalid(
            "A log line needs a stream and a seq.",
            errors=[FieldError(f"/lines/{index}", "stream must be stdout or stderr, seq from 1")],
        )
    text = line.text[:MAX_LOG_LINE_CHARS].replace("\0", "\ufffd")
    return LogRow(number=0, seq=line.seq, at=_time(line.at, clock, f"/lines/{index}/at"), stream=line.stream, text=text)


def _time(text: str, clock: Clock, pointer: str) -> datetime:
    """An agent's grid time. Raises Invalid for one that is malformed or lies in the future."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("Times are RFC 3339 with an offset.", errors=[FieldError(pointer, "not a time")]) from None
    if at.tzinfo is None:
        raise Invalid("Times are RFC 3339 with an offset.", errors=[FieldError(pointer, "has no offset")])
    if at > clock.now() + timedelta(seconds=MAX_AHEAD_S * clock.factor):
        raise Invalid("This time lies in the future; check the node's clock.", errors=[FieldError(pointer, "in the future")])
    return at
