"""POSTs that create happen once per Idempotency-Key: the answer is stored in the transaction that created, and replayed after.

Two requests with one key at once: the second one's insert waits for the first to commit, then finds itself late, rolls back all it
did, and answers with what the first stored. The same key with another request is refused. Answers are kept for a day.
"""

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType

from gridbroker.core.db import Database, Tx
from gridbroker.core.errors import FieldError, Invalid, Malformed
from gridbroker.identity import repository
from gridbroker.identity.repository import StoredAnswer
from gridbroker.identity.role import Caller

HEADER = "Idempotency-Key"
KEEP_HOURS = 24
MAX_KEY_CHARS = 255

T = TypeVar("T", bound=msgspec.Struct)


class KeyReused(Invalid):
    code, title = "idempotency_key_reused", "This Idempotency-Key was used for another request"


class KeyMissing(Malformed):
    code, title = "idempotency_key_missing", "This request needs an Idempotency-Key"


class _Late(Exception):
    """Another request with the same key committed while this one worked."""


async def once(
    db: Database,
    request: Request[Any, Any, Any],
    caller: Caller,
    create: Callable[[Tx], Awaitable[T]],
    *,
    status: int = 201,
    required: bool = False,
    secret_fields: tuple[str, ...] = (),
    transaction: Callable[[UUID], AbstractAsyncContextManager[Tx]] | None = None,
) -> Response[bytes]:
    """Run `create` in one transaction and answer with its result, at most once per key.

    `secret_fields` are left out of the stored answer: a replay shows them as null. `required` refuses requests without a key,
    for whatever costs money. `transaction` replaces `db.as_org` where the caller writes for another organisation.
    """
    begin = transaction or db.as_org
    key = _key_of(request, required=required)
    if key is None:
        async with begin(caller.org_id) as tx:
            created = await create(tx)
        return _answer(msgspec.json.encode(created), status)
    fingerprint = await _fingerprint(request)
    try:
        return await _first_time(begin, caller.org_id, key, fingerprint, create, status, secret_fields)
    except _Late:
        async with begin(caller.org_id) as tx:
            stored = await repository.find_answer(tx, caller.org_id, key)
        assert stored is not None, "whoever came first committed its answer"
        return _replay(stored, fingerprint)


async def _first_time(
    begin: Callable[[UUID], AbstractAsyncContextManager[Tx]],
    org_id: UUID,
    key: str,
    fingerprint: bytes,
    create: Callable[[Tx], Awaitable[T]],
    status: int,
    secret_fields: tuple[str, ...],
) -> Response[bytes]:
    async with begin(org_id) as tx:
        stored = await repository.find_answer(tx, org_id, key)
        if stored is not None:
            return _replay(stored, fingerprint)
        created = await create(tx)
        hidden = msgspec.structs.replace(created, **dict.fromkeys(secret_fields)) if secret_fields else created
        answer = StoredAnswer(fingerprint, status, msgspec.json.encode(hidden))
        if not await repository.keep_answer(tx, org_id, key, answer):
            raise _Late
    return _answer(msgspec.json.encode(created), status)


def _key_of(request: Request[Any, Any, Any], *, required: bool) -> str | None:
    key = request.headers.get(HEADER)
    if key is None:
        if required:
            raise KeyMissing(f"Send {HEADER} with a value of your own, a UUID for instance; a retry with it is safe.")
        return None
    if not 0 < len(key) <= MAX_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise Malformed(f"{HEADER} must be 1 to {MAX_KEY_CHARS} printable ASCII characters.", errors=[FieldError("", HEADER)])
    return key


async def _fingerprint(request: Request[Any, Any, Any]) -> bytes:
    return hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + await request.body()).digest()


def _replay(stored: StoredAnswer, fingerprint: bytes) -> Response[bytes]:
    if stored.fingerprint != fingerprint:
        raise KeyReused("Use a new key for a new request; the first one's answer stays available under its own body.")
    return _answer(stored.body, stored.status, {"Idempotent-Replayed": "true"})


def _answer(body: bytes, status: int, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)
