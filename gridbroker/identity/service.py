"""Organisations and keys: create, authenticate, rotate, revoke."""

import hmac
from datetime import datetime, timedelta
from uuid import UUID

from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, Tx
from gridbroker.core.errors import Conflict, NotFound, Unauthenticated
from gridbroker.core.secret import hash_secret, new_secret, prefix_of
from gridbroker.identity import repository
from gridbroker.identity.api_key import ApiKey, CreatedKey, Organisation, check_gift, check_role, is_valid
from gridbroker.identity.role import Caller, OrganisationKind, Role, Scope

MAX_ROTATION_OVERLAP = timedelta(days=7)
_TOUCH_EVERY = timedelta(minutes=5)
_ALL_SCOPES = (Scope.READ, Scope.WRITE)


class NameTaken(Conflict):
    code, title = "name_taken", "An organisation has that name already"


async def create_organisation(
    tx: Tx, clock: Clock, *, name: str, kind: OrganisationKind, home_zone: str | None = None
) -> Organisation:
    """System role. Raises NameTaken."""
    organisation = Organisation(org_id=clock.new_id(), name=name, kind=kind, home_zone=home_zone, created_at=clock.wall())
    if not await repository.add_organisation(tx, organisation):
        raise NameTaken(f"Choose another name than {name!r}.")
    return organisation


async def organisation(tx: Tx, org_id: UUID) -> Organisation:
    found = await repository.find_organisation(tx, org_id)
    if found is None:
        raise NotFound("There is no such organisation.")
    return found


async def create_key(
    tx: Tx,
    clock: Clock,
    *,
    org_id: UUID,
    role: Role,
    name: str,
    scopes: tuple[Scope, ...] = _ALL_SCOPES,
    expires_at: datetime | None = None,
    node_id: UUID | None = None,
) -> CreatedKey:
    """A new key; its secret is in the result and nowhere else. Raises RoleNotAllowed."""
    if role is not Role.NODE:
        check_role((await organisation(tx, org_id)).kind, role)
    secret = new_secret("node" if role is Role.NODE else "key")
    key = ApiKey(
        key_id=clock.new_id(),
        org_id=org_id,
        name=name,
        role=role,
        scopes=tuple(sorted(set(scopes))),
        prefix=_prefix(secret),
        node_id=node_id,
        created_at=clock.wall(),
        expires_at=expires_at,
        revoked_at=None,
        last_used_at=None,
    )
    await repository.add_key(tx, key, hash_secret(secret))
    return CreatedKey(key, secret)


async def rotate_key(tx: Tx, clock: Clock, caller: Caller, key_id: UUID, overlap: timedelta) -> CreatedKey:
    """A successor with the same role and scopes; the old key keeps working for `overlap`, so nothing need stop.

    Raises NotFound, NotYoursToGive, and Conflict for a key that is over.
    """
    old = await _own_key(tx, caller.org_id, key_id, lock=True)
    check_gift(caller, old.role, old.scopes)
    if not is_valid(old.expires_at, old.revoked_at, clock.wall()):
        raise Conflict("This key is revoked or expired already; create a new one.")
    created = await create_key(
        tx, clock, org_id=caller.org_id, role=old.role, name=old.name, scopes=old.scopes, expires_at=old.expires_at
    )
    until = clock.wall() + min(overlap, MAX_ROTATION_OVERLAP)
    await repository.revoke(tx, key_id=key_id, at=until)
    return created


async def revoke_key(tx: Tx, clock: Clock, caller: Caller, key_id: UUID) -> None:
    """Ends a key at once. Doing it twice changes nothing. Raises NotFound and NotYoursToGive."""
    key = await _own_key(tx, caller.org_id, key_id)
    check_gift(caller, key.role, ())
    await repository.revoke(tx, key_id=key_id, at=clock.wall())


async def revoke_node_keys(tx: Tx, clock: Clock, node_id: UUID) -> int:
    """System role. All keys of a node, when it registers anew."""
    return await repository.revoke(tx, node_id=node_id, at=clock.wall())


async def has_admin(tx: Tx) -> bool:
    """System role. Whether any admin key was ever made."""
    return await repository.has_key_of(tx, Role.ADMIN)


async def forget_answers(tx: Tx, older_than_hours: int) -> int:
    """System role. Drop the answers kept for idempotent retries; returns how many."""
    return await repository.forget_answers(tx, older_than_hours)


async def authenticate(db: Database, clock: Clock, secret: str) -> Caller:
    """Who holds this key. Raises Unauthenticated with one message for every cause, so that nothing can be probed."""
    prefix = prefix_of(secret)
    async with db.system.connect() as opened:
        # One statement without a transaction around it: every request passes here.
        tx = await opened.execution_options(isolation_level="AUTOCOMMIT")
        found = await repository.find_key_by_prefix(tx, prefix) if prefix else None
        if found is None or not hmac.compare_digest(found[1], hash_secret(secret)):
            raise _refused()
        key = found[0]
        if not is_valid(key.expires_at, key.revoked_at, clock.wall()):
            raise _refused()
        if key.last_used_at is None or clock.wall() - key.last_used_at > _TOUCH_EVERY:
            await repository.touch_key(tx, key.key_id, clock.wall())
    return Caller(key.org_id, key.key_id, key.role, frozenset(key.scopes), key.node_id)


async def _own_key(tx: Tx, org_id: UUID, key_id: UUID, *, lock: bool = False) -> ApiKey:
    key = await repository.find_key(tx, org_id, key_id, lock=lock)
    if key is None or key.node_id is not None:
        raise NotFound("Your organisation has no such key.")
    return key


def _prefix(secret: str) -> str:
    prefix = prefix_of(secret)
    assert prefix is not None, "new secrets are well-formed"
    return prefix


def _refused() -> Unauthenticated:
    return Unauthenticated("This key is unknown, revoked or expired.", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
