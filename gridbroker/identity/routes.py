"""Organisations and API keys over HTTP."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, Tx
from gridbroker.core.errors import FieldError, Invalid, NotFound
from gridbroker.core.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, decode_cursor, page
from gridbroker.identity import repository, service
from gridbroker.identity.api_key import ApiKey, Organisation, check_gift
from gridbroker.identity.guards import allow
from gridbroker.identity.idempotency import once
from gridbroker.identity.role import PEOPLE, Caller, OrganisationKind, Role, Scope

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\s\x00-\x1f]([^\x00-\x1f]*[^\s\x00-\x1f])?$")]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


class NewOrganisation(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    kind: OrganisationKind
    home_zone: Annotated[str, msgspec.Meta(max_length=32)] | None = None


class OrganisationView(msgspec.Struct):
    id: UUID
    name: str
    kind: OrganisationKind
    home_zone: str | None
    created_at: datetime


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    role: Role
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)] = (Scope.READ, Scope.WRITE)
    expires_in_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] | None = None
    org_id: UUID | None = None
    """Admins create the first key of an organisation; everybody else leaves it out."""


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    overlap_minutes: Annotated[int, msgspec.Meta(ge=0, le=7 * 24 * 60)] = 60


class KeyView(msgspec.Struct):
    id: UUID
    org_id: UUID
    name: str
    role: Role
    scopes: tuple[Scope, ...]
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class CreatedKeyView(KeyView):
    secret: str | None = None
    """Shown once; null when the request is replayed."""


class WhoAmI(msgspec.Struct):
    organisation: OrganisationView
    role: Role
    scopes: tuple[Scope, ...]
    key_id: UUID


@get("/api/v1/whoami", guards=[allow(*PEOPLE)])
async def whoami(caller: NamedDependency[Caller], db: NamedDependency[Database]) -> WhoAmI:
    async with db.as_org(caller.org_id) as tx:
        mine = await service.organisation(tx, caller.org_id)
    return WhoAmI(_organisation(mine), caller.role, tuple(sorted(caller.scopes)), caller.key_id)


@post("/api/v1/organisations", guards=[allow(Role.ADMIN)])
async def create_organisation(
    data: JSONBody[NewOrganisation],
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    known_zones: NamedDependency[frozenset[str]],
) -> Response[bytes]:
    if data.home_zone is not None and data.home_zone not in known_zones:
        raise Invalid(
            "home_zone is not a known zone.", errors=[FieldError("/home_zone", f"one of {', '.join(sorted(known_zones))}")]
        )

    async def create(tx: Tx) -> OrganisationView:
        return _organisation(await service.create_organisation(tx, clock, name=data.name, kind=data.kind, home_zone=data.home_zone))

    return await once(db, request, caller, create, transaction=lambda _org: db.as_system())


@get("/api/v1/organisations", guards=[allow(Role.ADMIN)])
async def list_organisations(
    db: NamedDependency[Database], cursor: FromQuery[str | None] = None, limit: Limit = DEFAULT_LIMIT
) -> Page[OrganisationView]:
    async with db.as_system() as tx:
        found = await repository.list_organisations(tx, decode_cursor(cursor), limit + 1)
    return page([_organisation(one) for one in found], limit, lambda view: view.id)


@post("/api/v1/keys", guards=[allow(*PEOPLE)])
async def create_key(
    data: JSONBody[NewKey],
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
) -> Response[bytes]:
    org_id = _target_org(caller, data.org_id)
    check_gift(caller, data.role, data.scopes)
    expires_at = clock.wall() + timedelta(days=data.expires_in_days) if data.expires_in_days else None

    async def create(tx: Tx) -> CreatedKeyView:
        created = await service.create_key(
            tx, clock, org_id=org_id, role=data.role, name=data.name, scopes=data.scopes, expires_at=expires_at
        )
        return _created(created.key, created.secret)

    foreign = (lambda _org: db.as_system()) if org_id != caller.org_id else None
    return await once(db, request, caller, create, secret_fields=("secret",), transaction=foreign)


@get("/api/v1/keys", guards=[allow(*PEOPLE)])
async def list_keys(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    cursor: FromQuery[str | None] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> Page[KeyView]:
    async with db.as_org(caller.org_id) as tx:
        found = await repository.list_keys(tx, caller.org_id, decode_cursor(cursor), limit + 1)
    return page([_key(one) for one in found], limit, lambda view: view.id)


@post("/api/v1/keys/{key_id:uuid}/rotate", guards=[allow(*PEOPLE)])
async def rotate_key(
    key_id: FromPath[UUID],
    data: JSONBody[Rotation],
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
) -> Response[bytes]:
    async def create(tx: Tx) -> CreatedKeyView:
        created = await service.rotate_key(tx, clock, caller, key_id, timedelta(minutes=data.overlap_minutes))
        return _created(created.key, created.secret)

    return await once(db, request, caller, create, secret_fields=("secret",))


@post("/api/v1/keys/{key_id:uuid}/revoke", guards=[allow(*PEOPLE)], status_code=204)
async def revoke_key(
    key_id: FromPath[UUID],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
) -> None:
    async with db.as_org(caller.org_id) as tx:
        await service.revoke_key(tx, clock, caller, key_id)


def _target_org(caller: Caller, org_id: UUID | None) -> UUID:
    """Another organisation exists for admins only: for others it is as unknown as one that was never made."""
    if org_id in (None, caller.org_id):
        return caller.org_id
    if caller.role is not Role.ADMIN:
        raise NotFound("There is no such organisation.", errors=[FieldError("/org_id", "not your organisation")])
    return org_id


def _organisation(found: Organisation) -> OrganisationView:
    return OrganisationView(found.org_id, found.name, found.kind, found.home_zone, found.created_at)


def _key(key: ApiKey) -> KeyView:
    return KeyView(
        key.key_id,
        key.org_id,
        key.name,
        key.role,
        key.scopes,
        key.prefix,
        key.created_at,
        key.expires_at,
        key.revoked_at,
        key.last_used_at,
    )


def _created(key: ApiKey, secret: str) -> CreatedKeyView:
    return CreatedKeyView(**msgspec.structs.asdict(_key(key)), secret=secret)


ROUTES = [whoami, create_organisation, list_organisations, create_key, list_keys, rotate_key, revoke_key]
