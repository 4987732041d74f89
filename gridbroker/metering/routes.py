"""HTTP routes of metering: samples in, statements out."""

from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from gridbroker.core.clock import Clock
from gridbroker.core.db import Database
from gridbroker.core.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, decode_cursor, page
from gridbroker.identity.guards import allow
from gridbroker.identity.role import Caller, Role
from gridbroker.metering import service
from gridbroker.metering.repository import StatementSummary
from gridbroker.metering.statement import Statement
from gridbroker.node_agent.protocol import SampleAck, SampleBatch
from gridbroker.providers.service import get_node

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


@post("/api/v1/nodes/self/samples", guards=[allow(Role.NODE)], status_code=200, tags=["nodes"])
async def post_samples(
    data: JSONBody[SampleBatch],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
) -> SampleAck:
    """Keep a batch of samples; sending one again changes nothing. A batch with one impossible value is refused whole."""
    assert caller.node_id is not None, "node keys name their node"
    async with db.as_org(caller.org_id) as tx:
        node = await get_node(tx, caller.node_id)
        return await service.ingest(
            tx,
            data,
            org_id=caller.org_id,
            node_id=caller.node_id,
            gpu_count=node.gpu_count,
            now=clock.now(),
            clock_factor=clock.factor,
        )


@get("/api/v1/statements", guards=[allow(Role.DEVELOPER, Role.FINANCE)], tags=["statements"])
async def list_statements(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    limit: Limit = DEFAULT_LIMIT,
    cursor: FromQuery[str | None] = None,
) -> Page[StatementSummary]:
    """The organisation's final statements, newest workload first."""
    async with db.as_org(caller.org_id) as tx:
        found = await service.list_statements(tx, caller.org_id, decode_cursor(cursor), limit + 1)
    return page(found, limit, lambda summary: summary.workload_id)


@get("/api/v1/statements/{workload_id:uuid}", guards=[allow(Role.DEVELOPER, Role.FINANCE)], tags=["statements"])
async def get_statement(workload_id: FromPath[UUID], caller: NamedDependency[Caller], db: NamedDependency[Database]) -> Statement:
    """What an ended workload used, emitted and cost, hour by hour, and what it is compared with."""
    async with db.as_org(caller.org_id) as tx:
        return await service.statement_of(tx, workload_id)


ROUTES = [post_samples, list_statements, get_statement]
