"""Queries of identity."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from gridbroker.core.db import Tx
from gridbroker.identity.api_key import ApiKey, Organisation, parse_scopes
from gridbroker.identity.models import api_keys, idempotency_keys, organisations
from gridbroker.identity.role import OrganisationKind, Role

_KEY_COLUMNS = [column for column in api_keys.c if column.name != "secret_hash"]

# Built once, because building a statement takes as long as running it, and these run with every request.
_FIND_ORGANISATION = sa.select(organisations).where(organisations.c.id == sa.bindparam("org_id"))
_FIND_KEY_BY_PREFIX = sa.select(api_keys).where(api_keys.c.prefix == sa.bindparam("prefix"))
_FIND_ANSWER = sa.select(idempotency_keys.c.fingerprint, idempotency_keys.c.status, idempotency_keys.c.body).where(
    idempotency_keys.c.org_id == sa.bindparam("org_id"), idempotency_keys.c.key == sa.bindparam("key")
)
_LOCK = sa.select(sa.func.pg_advisory_xact_lock(sa.bindparam("number", type_=sa.BigInteger)))
_KEEP_ANSWER = idempotency_keys.insert()


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    fingerprint: bytes
    status: int
    body: bytes


async def add_organisation(tx: Tx, organisation: Organisation) -> bool:
    """False when the name is taken."""
    result = await tx.execute(
        insert(organisations)
        .values(
            id=organisation.org_id,
            name=organisation.name,
            kind=organisation.kind,
            home_zone=organisation.home_zone,
            created_at=organisation.created_at,
        )
        .on_conflict_do_nothing(index_elements=["name"])
    )
    return result.rowcount == 1


async def find_organisation(tx: Tx, org_id: UUID) -> Organisation | None:
    row = (await tx.execute(_FIND_ORGANISATION, {"org_id": org_id})).first()
    return _organisation(row) if row else None


async def list_organisations(tx: Tx, before: UUID | None, limit: int) -> list[Organisation]:
    query = sa.select(organisations).order_by(organisations.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(organisations.c.id < before)
    return [_organisation(row) for row in await tx.execute(query)]


async def add_key(tx: Tx, key: ApiKey, secret_hash: bytes) -> None:
    await tx.execute(
        api_keys.insert().values(
            id=key.key_id,
            org_id=key.org_id,
            name=key.name,
            role=key.role,
            scopes=list(key.scopes),
            prefix=key.prefix,
            secret_hash=secret_hash,
            node_id=key.node_id,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )
    )


async def find_key(tx: Tx, org_id: UUID, key_id: UUID, *, lock: bool = False) -> ApiKey | None:
    query = sa.select(*_KEY_COLUMNS).where(api_keys.c.id == key_id, api_keys.c.org_id == org_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).first()
    return _key(row) if row else None


async def find_key_by_prefix(tx: Tx, prefix: str) -> tuple[ApiKey, bytes] | None:
    row = (await tx.execute(_FIND_KEY_BY_PREFIX, {"prefix": prefix})).first()
    return (_key(row), row.secret_hash) if row else None


async def list_keys(tx: Tx, org_id: UUID, before: UUID | None, limit: int) -> list[ApiKey]:
    query = sa.select(*_KEY_COLUMNS).where(api_keys.c.org_id == org_id, api_keys.c.node_id.is_(None))
    if before is not None:
        query = query.where(api_keys.c.id < before)
    return [_key(row) for row in await tx.execute(query.order_by(api_keys.c.id.desc()).limit(limit))]


async def has_key_of(tx: Tx, role: Role) -> bool:
    return bool(await tx.scalar(sa.select(sa.exists().where(api_keys.c.role == role))))


async def revoke(tx: Tx, *, key_id: UUID | None = None, node_id: UUID | None = None, at: datetime) -> int:
    """Revoke one key, or all of a node, at a time; never later than a revocation already set."""
    assert (key_id is None) != (node_id is None), "one of the two"
    which = api_keys.c.id == key_id if key_id is not None else api_keys.c.node_id == node_id
    sooner = sa.or_(api_keys.c.revoked_at.is_(None), api_keys.c.revoked_at > at)
    result = await tx.execute(api_keys.update().where(which, sooner).values(revoked_at=at))
    return result.rowcount


async def touch_key(tx: Tx, key_id: UUID, at: datetime) -> None:
    await tx.execute(api_keys.update().where(api_keys.c.id == key_id).values(last_used_at=at))


async def find_answer(tx: Tx, org_id: UUID, key: str) -> StoredAnswer | None:
    row = (await tx.execute(_FIND_ANSWER, {"org_id": org_id, "key": key})).first()
    return StoredAnswer(*row) if row else None


async def lock_answer(tx: Tx, org_id: UUID, key: str) -> None:
    """Wait until no other transaction works under this key; whoever comes next waits for this one to end."""
    number = int.from_bytes(sha256(f"{org_id}:{key}".encode()).digest()[:8], "big", signed=True)
    await tx.execute(_LOCK, {"number": number})


async def keep_answer(tx: Tx, org_id: UUID, key: str, answer: StoredAnswer) -> None:
    """Under `lock_answer`, which makes sure that there is none yet."""
    row = {"org_id": org_id, "key": key, "fingerprint": answer.fingerprint, "status": answer.status, "body": answer.body}
    await tx.execute(_KEEP_ANSWER, row)


async def forget_answers(tx: Tx, older_than_hours: int) -> int:
    limit = sa.func.clock_timestamp() - sa.func.make_interval(0, 0, 0, 0, older_than_hours)
    result = await tx.execute(idempotency_keys.delete().where(idempotency_keys.c.created_at < limit))
    return result.rowcount


def _organisation(row: sa.Row[Any]) -> Organisation:
    return Organisation(
        org_id=row.id, name=row.name, kind=OrganisationKind(row.kind), home_zone=row.home_zone, created_at=row.created_at
    )


def _key(row: sa.Row[Any]) -> ApiKey:
    return ApiKey(
        key_id=row.id,
        org_id=row.org_id,
        name=row.name,
        role=Role(row.role),
        scopes=parse_scopes(row.scopes),
        prefix=row.prefix,
        node_id=row.node_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
