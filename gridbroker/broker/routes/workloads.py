"""Workloads over HTTP: submit, look, route, complete, cancel; their decisions, placements, events and logs."""

import re
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from gridbroker.broker import repository
from gridbroker.broker.routes.bodies import WorkloadBody, to_spec
from gridbroker.broker.routes.views import (
    DecisionView,
    EventView,
    LogPage,
    PlacementView,
    WorkloadView,
    decision_view,
    event_view,
    log_view,
    placement_view,
    workload_view,
)
from gridbroker.broker.service import submission
from gridbroker.broker.service.facts import load, spent_micro
from gridbroker.broker.service.market import as_body, rebuild
from gridbroker.broker.service.outlook_cache import OutlookCache
from gridbroker.broker.service.review import energy_to_date
from gridbroker.broker.workload import ENDED, WorkloadState
from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, Tx
from gridbroker.core.errors import FieldError, Invalid, NotFound
from gridbroker.core.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, decode_cursor, page
from gridbroker.core.queue import Queue
from gridbroker.identity import service as identity
from gridbroker.identity.guards import allow
from gridbroker.identity.idempotency import once
from gridbroker.identity.role import Caller, Role
from gridbroker.metering import service as metering
from gridbroker.pricing import service as pricing

DEFAULT_HOME_ZONE = "DE"
MAX_LOG_LIMIT = 1000
_POSITION = re.compile(r"([0-9]{1,9})\.([0-9]{1,18})", re.ASCII)
_OWNERS = [allow(Role.DEVELOPER)]
_READERS = [allow(Role.DEVELOPER, Role.FINANCE)]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
_ONE = "/api/v1/workloads/{workload_id:uuid}"


@post("/api/v1/workloads", guards=_OWNERS, tags=["workloads"])
async def submit(
    data: JSONBody[WorkloadBody],
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    queue: NamedDependency[SkipValidation[Queue]],
    known_zones: NamedDependency[frozenset[str]],
    outlooks: NamedDependency[OutlookCache],
) -> Response[bytes]:
    """Quote, hold and row are durable when this answers; placing follows at once."""
    current = await outlooks.get()
    created_id: list[UUID] = []

    async def create(tx: Tx) -> WorkloadView:
        home_zone = data.home_zone or (await identity.organisation(tx, caller.org_id)).home_zone or DEFAULT_HOME_ZONE
        spec = to_spec(data, known_zones=known_zones, home_zone=home_zone, now=clock.now())
        workload, quote = await submission.submit(tx, clock, caller.org_id, spec, current)
        created_id.append(workload.workload_id)
        return workload_view(workload, clock.factor, quote=quote)

    response = await once(db, request, caller, create, required=True)
    for workload_id in created_id:
        queue.hint("workload.advance", workload_id)
    return response


@get("/api/v1/workloads", guards=_READERS, tags=["workloads"])
async def list_workloads(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    workload_state: Annotated[WorkloadState | None, QueryParameter(name="state")] = None,
    cursor: FromQuery[str | None] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[WorkloadView]:
    async with db.as_org(caller.org_id) as tx:
        found = await repository.list_workloads(tx, caller.org_id, decode_cursor(cursor), limit + 1, workload_state)
    return page([workload_view(one, clock.factor) for one in found], limit, lambda view: view.id)


@get(_ONE, guards=_READERS, tags=["workloads"])
async def show(
    workload_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
) -> WorkloadView:
    """State, progress, placements, and cost and energy to date."""
    async with db.as_org(caller.org_id) as tx:
        workload = await submission.own_workload(tx, caller.org_id, workload_id)
        quote = await pricing.get_quote(tx, workload_id)
        placements = await repository.placements_of(tx, workload_id)
        if workload.state in ENDED:
            view = workload_view(workload, clock.factor, placements=placements, quote=quote)
            view.energy_kind = (await metering.statement_of(tx, workload_id)).energy_kind
            return view
    async with db.as_system() as tx:
        # The provider's nodes and samples are not the customer's rows; the workload was checked to be theirs above.
        loaded = await load(tx, workload_id)
        assert loaded is not None
        spent = spent_micro(loaded, clock.now())
        energy_mj, energy_kind = await energy_to_date(tx, loaded, clock)
    view = workload_view(workload, clock.factor, placements=placements, quote=quote, spent=spent)
    view.energy_mj, view.energy_kind = str(energy_mj), energy_kind
    return view


@post(f"{_ONE}/route", guards=_OWNERS, status_code=202, tags=["workloads"])
async def route(
    workload_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    queue: NamedDependency[SkipValidation[Queue]],
) -> WorkloadView:
    """Look for a place now rather than at the next retry."""
    async with db.as_org(caller.org_id) as tx:
        workload = await submission.route_soon(tx, caller.org_id, workload_id)
    queue.hint("workload.advance", workload_id)
    return workload_view(workload, clock.factor)


@post(f"{_ONE}/cancel", guards=_OWNERS, status_code=202, tags=["workloads"])
async def cancel(
    workload_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    queue: NamedDependency[SkipValidation[Queue]],
) -> WorkloadView:
    """Stop it and settle what it used. It gets SIGTERM and its grace."""
    return await _stop(workload_id, "cancel", caller, db, clock, queue)


@post(f"{_ONE}/complete", guards=_OWNERS, status_code=202, tags=["workloads"])
async def complete(
    workload_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    queue: NamedDependency[SkipValidation[Queue]],
) -> WorkloadView:
    """Good enough: stop it, settle, and call it completed."""
    return await _stop(workload_id, "complete", caller, db, clock, queue)


async def _stop(workload_id: UUID, why: str, caller: Caller, db: Database, clock: Clock, queue: Queue) -> WorkloadView:
    async with db.as_org(caller.org_id) as tx:
        workload = await submission.stop(tx, clock, caller.org_id, workload_id, why)
    queue.hint("workload.advance", workload_id)
    return workload_view(workload, clock.factor)


@get(f"{_ONE}/decisions", guards=_READERS, tags=["workloads"])
async def list_decisions(
    workload_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    cursor: FromQuery[str | None] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[DecisionView]:
    """Newest first, each with its candidates, score parts, rejections and what rebuilds it."""
    async with db.as_org(caller.org_id) as tx:
        await submission.own_workload(tx, caller.org_id, workload_id)
        found = await repository.decisions_of(tx, workload_id, decode_cursor(cursor), limit + 1)
    return page([decision_view(one) for one in found], limit, lambda view: view.id)


@get(f"{_ONE}/placements", guards=_READERS, tags=["workloads"])
async def list_placements(
    workload_id: FromPath[UUID], caller: NamedDependency[Caller], db: NamedDependency[Database]
) -> Page[PlacementView]:
    async with db.as_org(caller.org_id) as tx:
        await submission.own_workload(tx, caller.org_id, workload_id)
        found = await repository.placements_of(tx, workload_id)
    return Page([placement_view(one) for one in found])


@get(f"{_ONE}/events", guards=_READERS, tags=["workloads"])
async def list_events(
    workload_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    cursor: FromQuery[str | None] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[EventView]:
    async with db.as_org(caller.org_id) as tx:
        await submission.own_workload(tx, caller.org_id, workload_id)
        found = await repository.events_of(tx, workload_id, decode_cursor(cursor), limit + 1)
    return page([event_view(one) for one in found], limit, lambda view: view.id)


@get(f"{_ONE}/logs", guards=_READERS, tags=["workloads"])
async def logs(
    workload_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    after: FromQuery[str] = "0.0",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LOG_LIMIT)] = 200,
) -> LogPage:
    """Lines of all placements in order, after a position (`placement.seq`)."""
    async with db.as_org(caller.org_id) as tx:
        workload = await submission.own_workload(tx, caller.org_id, workload_id)
        lines = await repository.logs_of(tx, workload_id, _position(after), limit)
    last = f"{lines[-1].number}.{lines[-1].seq}" if lines else after
    return LogPage([log_view(line) for line in lines], last, workload.state in ENDED and len(lines) < limit)


def _position(text: str) -> tuple[int, int]:
    found = _POSITION.fullmatch(text)
    if found is None:
        raise Invalid("`after` is a position that an earlier answer gave.", errors=[FieldError("/after", "for example 1.250")])
    return int(found[1]), int(found[2])


@get("/api/v1/decisions/{decision_id:uuid}/rebuilt", guards=_READERS, tags=["workloads"])
async def rebuilt(decision_id: FromPath[UUID], caller: NamedDependency[Caller], db: NamedDependency[Database]) -> dict[str, Any]:
    """The decision made again from the facts visible then; equal to what is stored."""
    async with db.as_org(caller.org_id) as tx:
        if await repository.find_decision(tx, decision_id) is None:
            raise NotFound("Your organisation has no such decision.")
    async with db.as_system(repeatable=True) as tx:
        return as_body(await rebuild(tx, decision_id))


WORKLOAD_ROUTES = [
    submit,
    list_workloads,
    show,
    route,
    cancel,
    complete,
    list_decisions,
    list_placements,
    list_events,
    logs,
    rebuilt,
]
