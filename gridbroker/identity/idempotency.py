"""POSTs that create happen once per Idempotency-Key: the answer is stored in the transaction that created, and replayed after.

Two requests with one key at once: the second waits for the first to end before it does anything, and answers with what that one
stored, or, if it was refused, is a first request itself. The same key with another request is refused. Answers are kept for a day.
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
    async with begin(caller.org_id) as tx:
        await repository.lock_answer(tx, caller.org_id, key)
        stored = await repository.find_answer(tx, caller.org_id, key)
        if stored is not None:
            return _replay(stored, fingerprint)
        created = await create(tx)
        hidden = msgspec.structs.replace(created, **dict.fromkeys(secret_fields)) if secret_fields else created
        await repository.keep_answer(tx, caller.org_id, key, StoredAnswer(fingerprint, status, msgspec.json.encode(hidden)))
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
