"""Every failure as application/problem+json (RFC 9457), with our `code` and the request's id."""

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from gridbroker.core.errors import FieldError, GridbrokerError, Invalid, Malformed, NotFound, TooLarge, Unavailable

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "gridbroker.request_id"
"""Key of the ASGI scope under which the gate leaves the request's id."""
TYPE_PREFIX = "https://gridbroker.dev/problems/"

_log = structlog.get_logger()


class ProblemError(msgspec.Struct, omit_defaults=True):
    pointer: str
    detail: str


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457 with our additions."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    instance: str = ""
    reasons: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    errors: list[ProblemError] = msgspec.field(default_factory=list[ProblemError])


def problem_of(error: GridbrokerError, request_id: str, instance: str) -> Problem:
    return Problem(
        type=TYPE_PREFIX + error.code,
        title=error.title,
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        instance=instance,
        reasons=dict(error.reasons),
        errors=[ProblemError(one.pointer, one.detail) for one in error.errors],
    )


def handle(request: Request[Any, Any, Any], exception: Exception) -> Response[Problem]:
    """Litestar's exception handler for everything."""
    error = translate(exception)
    if error.status >= 500:
        _log.error("request_failed", path=request.url.path, exc_info=exception)
    problem = problem_of(error, request_id_of(request.scope), request.url.path)
    return Response(problem, status_code=error.status, media_type=MEDIA_TYPE, headers=dict(error.headers))


def translate(exception: Exception) -> GridbrokerError:
    """Our error for any exception; nothing unknown shows its text."""
    match exception:
        case GridbrokerError():
            return exception
        case ValidationException():
            return _invalid(exception)
        case RequestEntityTooLarge():
            return TooLarge("Send a smaller body.")
        case SerializationException():
            return Malformed("The body is not valid JSON.")
        case NotFoundException():
            return NotFound("There is nothing at this path.")
        case MethodNotAllowedException():
            return _MethodNotAllowed(f"{exception.detail}.", headers=exception.headers or {})
        case HTTPException() if exception.status_code < 500:
            return _of_http(exception)
        case _ if type(exception).__name__ in _DATABASE_DOWN:
            return Unavailable("The database does not answer. Try again shortly.", headers={"Retry-After": "5"})
        case _:
            return GridbrokerError("An unexpected error was logged under this request id.")


_DATABASE_DOWN = frozenset(
    {"ConnectionRefusedError", "ConnectionDoesNotExistError", "CannotConnectNowError", "TooManyConnectionsError", "InterfaceError"}
)


class _MethodNotAllowed(GridbrokerError):
    code, status, title = "method_not_allowed", 405, "This path has other methods"


def _invalid(exception: ValidationException) -> GridbrokerError:
    extra = exception.extra if isinstance(exception.extra, list) else []
    errors = [_field(entry) for entry in extra if isinstance(entry, Mapping)]
    detail = "; ".join(f"{one.pointer or 'body'}: {one.detail}" for one in errors) or exception.detail
    return Invalid(detail, errors=errors)


def _field(entry: Mapping[str, Any]) -> FieldError:
    key = str(entry.get("key", ""))
    pointer = "/" + key.replace(".", "/") if key else ""
    return FieldError(pointer.replace("/data", "", 1) if pointer.startswith("/data") else pointer, str(entry.get("message", "")))


def _of_http(exception: HTTPException) -> GridbrokerError:
    if exception.status_code == 400 and "JSON" in exception.detail:
        return Malformed("The body is not valid JSON.")
    return Malformed(exception.detail)


def request_id_of(scope: Mapping[str, Any]) -> str:
    return str(scope.get(REQUEST_ID, ""))
