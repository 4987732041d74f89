"""How a statement is kept: plain JSON, exact. Integers beyond 2^53 are strings, because many JSON readers would round them."""

from typing import Any, cast

import msgspec

from gridbroker.metering.statement import Statement

_LARGEST_EXACT = 2**53


def to_body(statement: Statement) -> dict[str, Any]:
    return _exact(msgspec.to_builtins(statement))


def from_body(body: dict[str, Any]) -> Statement:
    return msgspec.convert(body, Statement, strict=False)


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _exact(inner) for name, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_exact(inner) for inner in cast("list[Any]", value)]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_EXACT:
        return str(value)
    return value
