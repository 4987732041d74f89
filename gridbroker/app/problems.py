"""Every failure as application/problem+json (RFC 9457), with our `code` and the request's id."""

import re
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
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import exc

from gridbroker.core.errors import FieldError, GridbrokerError, Invalid, Malformed, NotFound, TooLarge, Unavailable, pointer

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
    error = told(exception, request.url.path, _wire_names(request))
    problem = problem_of(error, request_id_of(request.scope), request.url.path)
    return Response(problem, status_code=error.status, media_type=MEDIA_TYPE, headers=dict(error.headers))


def told(exception: Exception, path: str, wire_names: Mapping[str, str] | None = None) -> GridbrokerError:
    """Our error for any exception; what is our own fault is logged here, once."""
    error = translate(exception, wire_names or {})
    if error.status >= 500:
        _log.error("request_failed", path=path, code=error.code, exc_info=exception)
    return error


def translate(exception: Exception, wire_names: Mapping[str, str]) -> GridbrokerError:
    """Our error for any exception; nothing unknown shows its text. `wire_names` maps handlers' parameters to what clients write."""
    match exception:
        case GridbrokerError():
            return exception
        case ValidationException():
            return _invalid(exception, wire_names)
        case RequestEntityTooLarge():
            return TooLarge("Send a smaller body.")
        case SerializationException():
            return Malformed("The body is not valid JSON.")
        case NotFoundException():
            return NotFound("There is nothing at this path.")
        case MethodNotAllowedException():
            return _MethodNotAllowed("Use one of the methods that the header Allow names.", headers=exception.headers or {})
        case HTTPException() if exception.status_code < 500:
            return Malformed(exception.detail)
        case exc.DBAPIError() if _refused_value(exception):
            return Invalid("A value is out of range, or text holds a null character.")
        case _ if _database_is_away(exception):
            return Unavailable("The database does not answer. Try again shortly.", headers={"Retry-After": "5"})
        case _:
            return GridbrokerError("An unexpected error was logged under this request id.")


_DATABASE_DOWN = frozenset(
    {
        "CannotConnectNowError", "ConnectionDoesNotExistError", "ConnectionRefusedError", "InterfaceError",
        "TooManyConnectionsError", "AdminShutdownError", "CrashShutdownError", "ConnectionResetError",
    }
)  # fmt: skip
_DATA_EXCEPTION = "22"
"""SQLSTATE class: numbers out of range, characters that text cannot hold."""


def _refused_value(error: exc.DBAPIError) -> bool:
    """Whether the database, or its driver before sending, could not take a value: the last net under the checks at the edge."""
    cause = error.orig.__cause__ if error.orig is not None else None
    return type(cause).__name__ == "DataError" or str(getattr(cause, "sqlstate", None) or "").startswith(_DATA_EXCEPTION)


def _database_is_away(exception: BaseException) -> bool:
    """Also when SQLAlchemy wrapped the driver's error, or no connection of the pool came free in time."""
    if isinstance(exception, exc.TimeoutError) or type(exception).__name__ in _DATABASE_DOWN:
        return True
    if not isinstance(exception, exc.DBAPIError) or exception.orig is None:
        return False
    return type(exception.orig.__cause__).__name__ in _DATABASE_DOWN


class _MethodNotAllowed(GridbrokerError):
    code, status, title = "method_not_allowed", 405, "This path has other methods"


def _invalid(exception: ValidationException, wire_names: Mapping[str, str]) -> GridbrokerError:
    extra = exception.extra if isinstance(exception.extra, list) else []
    errors = [_field(entry, wire_names) for entry in extra if isinstance(entry, Mapping)]
    if missing := _MISSING.match(exception.detail):
        errors.append(FieldError(pointer(missing[1]), "is required"))
    detail = "; ".join(f"{one.pointer or 'The body'}: {one.detail}" for one in errors) or exception.detail
    return Invalid(detail, errors=errors)


_MISSING = re.compile(r"Missing required \w+ parameter '(\w+)'")
_NO_BODY = "'data'"
"""All that Litestar says when a handler wants a body and there is none."""


def _field(entry: Mapping[str, Any], wire_names: Mapping[str, str]) -> FieldError:
    message, key = str(entry.get("message", "")), str(entry.get("key", ""))
    if message == _NO_BODY:
        return FieldError("", "is missing; send JSON")
    return FieldError(pointer(*wire_names.get(key, key).split(".")) if key else "", message)


def _wire_names(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Names of query parameters by the names of the handler's arguments, where they differ."""
    handler = request.scope.get("route_handler")
    parameters = handler.parsed_fn_signature.parameters if isinstance(handler, HTTPRouteHandler) else {}
    named = {name: getattr(field.kwarg_definition, "name", None) for name, field in parameters.items()}
    return {name: wire for name, wire in named.items() if wire}


def request_id_of(scope: Mapping[str, Any]) -> str:
    return str(scope.get(REQUEST_ID, ""))
