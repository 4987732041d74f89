"""Which roles may call a route. Every route names its own; one without a guard of these fails the architecture test."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard

from gridbroker.core.errors import Forbidden, Unauthenticated
from gridbroker.identity.role import Caller, Role, Scope

_READING = frozenset({"GET", "HEAD"})


def allow(*roles: Role) -> Guard:
    """Callers with one of `roles`. Reading needs the scope `read`, everything else `write`. Admins pass unless nodes alone may."""
    allowed = frozenset(roles) if set(roles) == {Role.NODE} else frozenset(roles) | {Role.ADMIN}

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        caller = caller_of(connection)
        if caller.role not in allowed:
            raise Forbidden(f"This needs the role {' or '.join(sorted(allowed))}; this key has {caller.role}.")
        needed = Scope.READ if connection.scope.get("method") in _READING else Scope.WRITE
        if needed not in caller.scopes:
            raise Forbidden(f"This needs a key with the scope {needed}.")

    guard.roles = allowed  # type: ignore[attr-defined]
    return guard


def public(_connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Anybody, without a key. Said explicitly so that an unguarded route is never an accident."""


public.roles = frozenset[Role]()  # type: ignore[attr-defined]


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    caller = connection.scope.get("user")
    if not isinstance(caller, Caller):
        raise Unauthenticated("Send the header Authorization: Bearer <key>.", headers={"WWW-Authenticate": "Bearer"})
    return caller
