"""What every request passes on its way in: an id, the caller behind its key, the rate limit, the content type."""

import re
import time
from ipaddress import ip_network
from typing import Any

import msgspec
import structlog
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gridbroker.app.metrics import REQUEST_SECONDS
from gridbroker.app.problems import MEDIA_TYPE, REQUEST_ID, problem_of, told
from gridbroker.app.rate_limit import RateLimiter
from gridbroker.core.clock import Clock
from gridbroker.core.db import Database
from gridbroker.core.errors import GridbrokerError, Malformed, NotFound, RateLimited, UnsupportedMediaType
from gridbroker.identity import service

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_RAW_BODY = re.compile(r"/blobs/[0-9a-f]{64}$")


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, db: Database, clock: Clock, limiter: RateLimiter) -> None:
        self._app, self._db, self._clock, self._limiter = app, db, clock, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = Headers.from_scope(scope)
        request_id = _request_id(headers, self._clock)
        extra = {"X-Request-Id": request_id, "X-Clock-Factor": str(self._clock.factor), "X-Content-Type-Options": "nosniff"}
        started = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.body" and scope["method"] == "HEAD":
                message["body"] = b""
            if message["type"] == "http.response.start":
                status = message["status"]
                carried = MutableScopeHeaders.from_message(message)
                for name, value in extra.items():
                    carried[name] = value
            await send(message)

        scope[REQUEST_ID] = request_id  # type: ignore[typeddict-unknown-key]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._admit(scope, headers, extra)
        except Exception as exception:  # noqa: BLE001  (whatever failed, the client gets a problem document)
            await _refuse(told(exception, scope["path"]), request_id, scope, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)
        finally:
            REQUEST_SECONDS.labels(_method(scope), f"{status // 100}xx").observe(time.perf_counter() - started)

    async def _admit(self, scope: Scope, headers: Headers, extra: dict[str, str]) -> None:
        try:
            secret = _bearer(headers)
            caller = await service.authenticate(self._db, self._clock, secret) if secret else None
        except GridbrokerError:
            # Whoever tries keys is counted by address, or they could be tried without end.
            self._count(_address(scope), extra)
            raise
        scope["user"] = caller
        self._count(str(caller.key_id) if caller else _address(scope), extra)
        if "\0" in scope["path"]:
            raise NotFound("There is nothing at this path.")  # and what opens files by it would fail otherwise
        _check_content_type(scope, headers)

    def _count(self, name: str, extra: dict[str, str]) -> None:
        verdict = self._limiter.take(name, time.monotonic())
        extra.update(self._limiter.headers(verdict))
        if not verdict.allowed:
            raise RateLimited(f"Slow down: {self._limiter.quota} requests per {self._limiter.window_s:.0f} s for each key.")


def _address(scope: Any) -> str:
    """Who calls without a key: the peer's address; of IPv6 the /64, which is what one household or server gets."""
    host = (scope.get("client") or ("unknown", 0))[0]
    if ":" not in host:
        return f"ip:{host}"
    try:
        return f"ip:{ip_network((host.partition('%')[0], 64), strict=False)}"
    except ValueError:
        return f"ip:{host}"


def _method(scope: Any) -> str:
    """The method as a label of a metric: a client may send any word, and each would be a series of its own."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def _bearer(headers: Headers) -> str | None:
    value = headers.get("authorization")
    if value is None:
        return None
    scheme, _, secret = value.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Malformed("The Authorization header must read: Bearer <key>.")
    return secret.strip()


def _check_content_type(scope: Any, headers: Headers) -> None:
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if scope["method"] not in _WITH_BODY or not has_body or _RAW_BODY.search(scope["path"]):
        return
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != "application/json":
        raise UnsupportedMediaType(f"Send application/json, not {given or 'nothing'}.")


def _request_id(headers: Headers, clock: Clock) -> str:
    given = headers.get("x-request-id", "")
    return given if _GIVEN_ID.fullmatch(given) else clock.new_id().hex


async def _refuse(error: GridbrokerError, request_id: str, scope: Scope, send: Send) -> None:
    body = msgspec.json.encode(problem_of(error, request_id, scope["path"]))
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
