"""Dataclasses of the wire contract to and from JSON values. Unknown fields are ignored, so a newer server can add some."""

import dataclasses
import json
import types
import typing
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


class Undecodable(ValueError):
    """The JSON does not fit the dataclass; the message names the place."""


def encode(value: Any) -> str:
    """JSON text of a protocol dataclass."""
    return json.dumps(dataclasses.asdict(value), separators=(",", ":"), ensure_ascii=False)


def decode(cls: type[T], value: object, at: str = "") -> T:
    """A `cls` from parsed JSON. Raises Undecodable."""
    if not isinstance(value, dict):
        raise Undecodable(f"{at or cls.__name__}: expected an object")
    hints = _hints(cls)
    fields = {name: _convert(hint, value[name], f"{at}/{name}") for name, hint in hints.items() if name in value}
    try:
        return cls(**fields)
    except TypeError as error:
        raise Undecodable(f"{at or cls.__name__}: {error}") from None


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _convert(hint: Any, value: Any, at: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _convert(next(part for part in arguments if part is not type(None)), value, at)
    if origin is tuple:
        return tuple(_convert(arguments[0], item, f"{at}/{n}") for n, item in enumerate(_expect(list, value, at)))
    if origin is dict:
        return {key: _convert(arguments[1], item, f"{at}/{key}") for key, item in _expect(dict, value, at).items()}
    if dataclasses.is_dataclass(hint):
        return decode(typing.cast("type[Any]", hint), value, at)
    if issubclass(hint, StrEnum):
        try:
            return hint(value)
        except ValueError:
            raise Undecodable(f"{at}: {value!r} is not one of {', '.join(hint)}") from None
    if hint is float and type(value) is int:
        return float(value)
    return _expect(hint, value, at)


def _expect(kind: type[T], value: Any, at: str) -> T:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Undecodable(f"{at}: expected {kind.__name__}")
    return value
