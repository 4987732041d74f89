"""What node agents tell about the placements they hold: reports, logs, checkpoints and their bytes."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from litestar import Request, Response, get, head, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation
from litestar.response import Stream

from gridbroker.broker.service import reports
from gridbroker.core.blobs import BlobStore
from gridbroker.core.clock import Clock
from gridbroker.core.db import Database
from gridbroker.core.errors import NotFound
from gridbroker.core.queue import Queue
from gridbroker.core.settings import Settings
from gridbroker.identity.guards import allow
from gridbroker.identity.role import Caller, Role
from gridbroker.node_agent.protocol import CheckpointAck, CheckpointCommit, LogAck, LogBatch, Report

_SELF = "/api/v1/nodes/self/placements/{placement_id:uuid}"
_NODE = [allow(Role.NODE)]


@post(f"{_SELF}/reports", guards=_NODE, status_code=204, tags=["agent"])
async def report(
    placement_id: FromPath[UUID],
    data: JSONBody[Report],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    queue: NamedDependency[SkipValidation[Queue]],
) -> None:
    """Take a report once; what it means is decided by whoever claims the workload."""
    async with db.as_system() as tx:
        workload_id = await reports.take_report(tx, clock, _node(caller), placement_id, data)
    if workload_id is not None:
        queue.hint("workload.advance", workload_id)


@post(f"{_SELF}/logs", guards=_NODE, status_code=200, tags=["agent"])
async def logs(
    placement_id: FromPath[UUID],
    data: JSONBody[LogBatch],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
) -> LogAck:
    async with db.as_system() as tx:
        return LogAck(accepted=await reports.take_logs(tx, clock, _node(caller), placement_id, data))


@post(f"{_SELF}/checkpoints", guards=_NODE, status_code=201, tags=["agent"])
async def commit(
    placement_id: FromPath[UUID],
    data: JSONBody[CheckpointCommit],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    blobs: NamedDependency[SkipValidation[BlobStore]],
) -> CheckpointAck:
    """Make a checkpoint the resume point, if every file of it is here and the placement still holds its lease."""
    async with db.as_system() as tx:
        checkpoint_id = await reports.take_checkpoint(tx, clock, blobs, _node(caller), placement_id, data)
    return CheckpointAck(checkpoint_id=str(checkpoint_id))


@head(f"{_SELF}/blobs/{{sha256:str}}", guards=_NODE, tags=["agent"])
async def blob_size(
    placement_id: FromPath[UUID],
    sha256: FromPath[str],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    blobs: NamedDependency[SkipValidation[BlobStore]],
) -> Response[None]:
    owner = await _owner(db, caller, placement_id)
    size = blobs.size(owner, sha256)
    if size is None:
        raise NotFound("There is no such blob.")
    return Response(None, headers={"X-Blob-Bytes": str(size)})


@put(f"{_SELF}/blobs/{{sha256:str}}", guards=_NODE, status_code=204, request_max_body_size=None, tags=["agent"])
async def put_blob(
    placement_id: FromPath[UUID],
    sha256: FromPath[str],
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    blobs: NamedDependency[SkipValidation[BlobStore]],
    settings: NamedDependency[Settings],
) -> None:
    owner = await _owner(db, caller, placement_id)
    await blobs.put(owner, sha256, request.stream(), max_bytes=settings.max_blob_bytes)


@get(f"{_SELF}/blobs/{{sha256:str}}", guards=_NODE, media_type="application/octet-stream", tags=["agent"])
async def get_blob(
    placement_id: FromPath[UUID],
    sha256: FromPath[str],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    blobs: NamedDependency[SkipValidation[BlobStore]],
) -> Stream:
    owner = await _owner(db, caller, placement_id)
    if blobs.size(owner, sha256) is None:
        raise NotFound("There is no such blob.")

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in blobs.read(owner, sha256):
            yield chunk

    return Stream(chunks())


async def _owner(db: Database, caller: Caller, placement_id: UUID) -> UUID:
    """The workload whose bytes a node may touch: the one of an open placement on it."""
    async with db.as_system() as tx:
        placement = await reports.placement_on(tx, _node(caller), placement_id)
    return placement.workload_id


def _node(caller: Caller) -> UUID:
    assert caller.node_id is not None, "the guard lets only nodes in"
    return caller.node_id


AGENT_ROUTES = [report, logs, commit, blob_size, put_blob, get_blob]
