"""The one root of every error that a user can meet.

An error carries what each surface needs: `code` and `status` for problem+json (RFC 9457), `reasons` for refusals that count
what stood in the way, and `errors` for the fields of a request that were wrong. Subclasses live beside the code that raises them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong place in a request. `pointer` is a JSON Pointer (RFC 6901) such as `/budget/currency`."""

    pointer: str
    detail: str


def pointer(*steps: str | int) -> str:
    """A JSON Pointer (RFC 6901) from its unescaped steps: `pointer("environment", "a/b")` is `/environment/a~1b`."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _no_reasons() -> dict[str, int]:
    return {}


@dataclass
class GridbrokerError(Exception):
    """Root error. `detail` says in one sentence what went wrong and what to do."""

    detail: str
    reasons: Mapping[str, int] = field(default_factory=_no_reasons)
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong on our side"

    def __str__(self) -> str:
        counted = ", ".join(f"{reason}: {count}" for reason, count in self.reasons.items())
        return f"{self.detail} ({counted})" if counted else self.detail


class Malformed(GridbrokerError):
    code, status, title = "malformed_request", 400, "The request could not be read"


class Unauthenticated(GridbrokerError):
    code, status, title = "unauthenticated", 401, "No valid credential"


class InsufficientFunds(GridbrokerError):
    code, status, title = "insufficient_funds", 402, "The wallet does not cover this"


class Forbidden(GridbrokerError):
    code, status, title = "forbidden", 403, "Your role may not do this"


class NotFound(GridbrokerError):
    code, status, title = "not_found", 404, "No such thing here"


class Conflict(GridbrokerError):
    code, status, title = "conflict", 409, "That does not fit the current state"


class TooLarge(GridbrokerError):
    code, status, title = "too_large", 413, "The request body is too large"


class UnsupportedMediaType(GridbrokerError):
    code, status, title = "unsupported_media_type", 415, "The content type is not accepted"


class Invalid(GridbrokerError):
    code, status, title = "invalid", 422, "The request was understood but is not valid"


class RateLimited(GridbrokerError):
    code, status, title = "rate_limited", 429, "Too many requests"


class Unavailable(GridbrokerError):
    code, status, title = "unavailable", 503, "Not available right now"
