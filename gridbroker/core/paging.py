"""Cursor pages: newest first by time-ordered id, an opaque cursor to the next page."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from gridbroker.core.errors import FieldError, Invalid

MAX_LIMIT = 200
DEFAULT_LIMIT = 50

T = TypeVar("T")


class BadCursor(Invalid):
    code, title = "bad_cursor", "The cursor is not one of ours"


class Page(msgspec.Struct, Generic[T]):
    data: list[T]
    next_cursor: str | None = None


def encode_cursor(last_id: UUID) -> str:
    return base64.urlsafe_b64encode(last_id.bytes).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> UUID | None:
    """The id after which the page begins. Raises BadCursor."""
    if cursor is None:
        return None
    try:
        found = UUID(bytes=base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))
    except (binascii.Error, ValueError):
        raise bad_cursor() from None
    # The decoder passes over characters that are not of its alphabet.
    if encode_cursor(found) != cursor:
        raise bad_cursor()
    return found


def bad_cursor() -> BadCursor:
    return BadCursor("Pass next_cursor of an earlier answer unchanged.", errors=[FieldError("/cursor", "not a cursor")])


def page(items: Sequence[T], limit: int, id_of: Callable[[T], UUID]) -> Page[T]:
    """A page of the first `limit` of `items`; query for `limit + 1` so that a further page can be told."""
    shown = list(items[:limit])
    return Page(shown, encode_cursor(id_of(shown[-1])) if len(items) > limit else None)
