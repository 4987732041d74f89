"""Nodes over HTTP: tokens and registration, heartbeats and orders of agents, and what providers see of their nodes."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, Tx
from gridbroker.core.errors import NotFound
from gridbroker.core.money import format_micro
from gridbroker.core.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, decode_cursor, page
from gridbroker.core.queue import Queue
from gridbroker.core.settings import Settings
from gridbroker.identity.guards import allow, public
from gridbroker.identity.idempotency import once
from gridbroker.identity.role import PROVIDERS, Caller, Role
from gridbroker.node_agent.protocol import (
    MAX_ORDERS_WAIT_S,
    EnergyKind,
    Heartbeat,
    HeartbeatAck,
    NodeCredentials,
    NodeRegistration,
    Orders,
)
from gridbroker.providers import service
from gridbroker.providers.backends.agent import read_orders
from gridbroker.providers.backends.bell import OrdersBell
from gridbroker.providers.health import CheckKind, NodeCheck, NodeStatus
from gridbroker.providers.node import Health
from gridbroker.providers.token import DEFAULT_TTL_S, MAX_TTL_S, MIN_TTL_S

HEARTBEATS_BEFORE_LOST = 6

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]
Wait = Annotated[float, QueryParameter(ge=0, le=MAX_ORDERS_WAIT_S)]
Text = Annotated[str, msgspec.Meta(max_length=200)]


class NewNodeToken(msgspec.Struct, forbid_unknown_fields=True):
    ttl_s: Annotated[int, msgspec.Meta(ge=MIN_TTL_S, le=MAX_TTL_S)] = DEFAULT_TTL_S
    org_id: UUID | None = None
    """Admins name the provider; everybody else leaves it out."""


class NodeTokenView(msgspec.Struct):
    org_id: UUID
    expires_at: datetime
    token: str | None = None
    """Shown once; null when the request is replayed. Admits one registration."""


class RegistrationBody(msgspec.Struct, forbid_unknown_fields=True):
    """`node_agent.protocol.NodeRegistration` without room for other fields: a misspelt price must not become the default one."""

    token: Text
    name: Text
    zone: Text
    gpu_model: Text
    gpu_count: int
    price_eur_per_gpu_hour: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    pue: float = 1.0
    energy_kind: EnergyKind = EnergyKind.MODELLED
    backends: tuple[Text, ...] = ("process",)
    agent_version: Text = ""
    sent_at: Text = ""


class NodeView(msgspec.Struct, kw_only=True):
    id: UUID
    org_id: UUID
    name: str
    zone: str
    tier: str
    gpu_model: str
    gpu_count: int
    free_gpus: tuple[int, ...]
    price_eur_per_gpu_hour: str
    pue: float
    energy_kind: str
    backends: tuple[str, ...]
    health: Health
    draining: bool
    last_seen_at: datetime | None
    utilisation: float
    """Mean over the GPUs at the last heartbeat, 0 to 1."""
    spool_backlog: int
    """Messages that the agent held back at the last heartbeat."""
    failing_checks: tuple[str, ...]
    version: int
    created_at: datetime


class CheckView(msgspec.Struct, kw_only=True):
    kind: CheckKind
    ok: bool
    detail: str
    at: datetime
    """When this outcome began; it holds until a later one of the kind."""


class NodeDetail(NodeView, kw_only=True):
    checks: tuple[CheckView, ...]
    """Newest first."""


@post("/api/v1/node-tokens", guards=[allow(*PROVIDERS)], tags=["nodes"])
async def create_node_token(
    data: JSONBody[NewNodeToken],
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
) -> Response[bytes]:
    org_id = _provider_of(caller, data.org_id)

    async def create(tx: Tx) -> NodeTokenView:
        token, expires_at = await service.mint_token(tx, clock, org_id, ttl_s=data.ttl_s)
        return NodeTokenView(org_id, expires_at, token)

    foreign = (lambda _org: db.as_system()) if org_id != caller.org_id else None
    return await once(db, request, caller, create, secret_fields=("token",), transaction=foreign)


@post("/api/v1/nodes", guards=[public], status_code=201, tags=["agent"])
async def register_node(
    *,
    data: JSONBody[RegistrationBody],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    settings: NamedDependency[Settings],
    known_zones: NamedDependency[frozenset[str]],
    list_prices: NamedDependency[dict[str, int]],
) -> NodeCredentials:
    """The one-time token in the body is the credential."""
    async with db.as_system() as tx:
        return await service.register(
            tx,
            clock,
            NodeRegistration(**msgspec.structs.asdict(data)),
            known_zones=known_zones,
            list_prices=list_prices,
            heartbeat_interval_s=settings.node_lost_after_s / HEARTBEATS_BEFORE_LOST,
        )


@post("/api/v1/nodes/self/heartbeat", guards=[allow(Role.NODE)], status_code=200, tags=["agent"])
async def heartbeat(
    data: JSONBody[Heartbeat],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    queue: NamedDependency[SkipValidation[Queue]],
) -> HeartbeatAck:
    node_id = _node_of(caller)
    async with db.as_system() as tx:
        acknowledged = await service.heartbeat(tx, clock, node_id, data)
    if acknowledged.in_service_again:
        queue.hint("node.in_service", node_id)
    return acknowledged


@get("/api/v1/nodes/self/orders", guards=[allow(Role.NODE)], tags=["agent"])
async def get_orders(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    bell: NamedDependency[OrdersBell],
    version: FromQuery[int] = -1,
    wait_s: Wait = 0,
) -> Orders:
    """At once when the version is not `version`, else as soon as it changes, else after `wait_s`. Holds nothing while it waits."""
    node_id = _node_of(caller)
    until = asyncio.get_running_loop().time() + wait_s
    with bell.subscribe(node_id) as ring:
        while True:
            async with db.as_system() as tx:
                orders = await read_orders(tx, node_id)
            if orders.version != version or not await ring.wait(until):
                return orders


@get("/api/v1/nodes", guards=[allow(*PROVIDERS)], tags=["nodes"])
async def list_nodes(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    cursor: FromQuery[str | None] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[NodeView]:
    async with _visible(db, caller) as tx:
        found = await service.list_statuses(tx, decode_cursor(cursor), limit + 1)
    return page([NodeView(**_fields(one)) for one in found], limit, lambda view: view.id)


@get("/api/v1/nodes/{node_id:uuid}", guards=[allow(*PROVIDERS)], tags=["nodes"])
async def get_node(node_id: FromPath[UUID], caller: NamedDependency[Caller], db: NamedDependency[Database]) -> NodeDetail:
    async with _visible(db, caller) as tx:
        return await _detail(tx, await service.get_status(tx, node_id))


@post("/api/v1/nodes/{node_id:uuid}/drain", guards=[allow(*PROVIDERS)], status_code=200, tags=["nodes"])
async def drain_node(
    node_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    settings: NamedDependency[Settings],
) -> NodeDetail:
    return await _set_draining(node_id, caller, db, clock, settings, draining=True)


@post("/api/v1/nodes/{node_id:uuid}/undrain", guards=[allow(*PROVIDERS)], status_code=200, tags=["nodes"])
async def undrain_node(
    node_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    settings: NamedDependency[Settings],
) -> NodeDetail:
    return await _set_draining(node_id, caller, db, clock, settings, draining=False)


async def _set_draining(
    node_id: UUID, caller: Caller, db: Database, clock: Clock, settings: Settings, *, draining: bool
) -> NodeDetail:
    async with _visible(db, caller) as tx:
        status = await service.set_draining(tx, clock, node_id, draining=draining, lost_after_s=settings.node_lost_after_s)
        return await _detail(tx, status)


def _visible(db: Database, caller: Caller) -> AbstractAsyncContextManager[Tx]:
    """Admins see every node, others their organisation's."""
    return db.as_system() if caller.role is Role.ADMIN else db.as_org(caller.org_id)


def _provider_of(caller: Caller, org_id: UUID | None) -> UUID:
    if org_id not in (None, caller.org_id) and caller.role is not Role.ADMIN:
        raise NotFound("There is no such organisation. Leave org_id out: the token is for your own.")
    return org_id or caller.org_id


def _node_of(caller: Caller) -> UUID:
    assert caller.node_id is not None, "a key with the role node names its node"
    return caller.node_id


async def _detail(tx: Tx, status: NodeStatus) -> NodeDetail:
    checks = await service.list_checks(tx, status.facts.node_id)
    return NodeDetail(**_fields(status), checks=tuple(map(_check, checks)))


def _check(check: NodeCheck) -> CheckView:
    return CheckView(kind=check.kind, ok=check.ok, detail=check.detail, at=check.at)


def _fields(status: NodeStatus) -> dict[str, Any]:
    facts = status.facts
    return {
        "id": facts.node_id,
        "org_id": facts.org_id,
        "name": facts.name,
        "zone": facts.zone,
        "tier": facts.tier.name.lower(),
        "gpu_model": facts.gpu_model,
        "gpu_count": facts.gpu_count,
        "free_gpus": facts.free_gpus,
        "price_eur_per_gpu_hour": format_micro(facts.price_micro_per_gpu_hour),
        "pue": facts.pue,
        "energy_kind": facts.energy_kind,
        "backends": facts.backends,
        "health": facts.health,
        "draining": status.draining,
        "last_seen_at": status.last_seen_at,
        "utilisation": status.utilisation,
        "spool_backlog": status.spool_backlog,
        "failing_checks": tuple(sorted(status.failing or ())),
        "version": facts.version,
        "created_at": status.created_at,
    }


ROUTES = [create_node_token, register_node, heartbeat, get_orders, list_nodes, get_node, drain_node, undrain_node]
