"""Refusals as values: RFC 9457 problem documents, and what stands in for one when the answer is not ours."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOT_OURS = "not_gridbroker"
"""The `code` of an answer that is no problem document, from a proxy for instance."""


class SdkError(Exception):
    """Root of what this package raises."""


class Unreachable(SdkError):
    """The server did not answer. Whether it acted is not known; the same Idempotency-Key makes asking again safe."""


@dataclass(frozen=True, slots=True)
class ProblemField:
    pointer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    status: int
    code: str
    title: str
    detail: str
    request_id: str = ""
    errors: tuple[ProblemField, ...] = ()
    """The fields of the request that were wrong, by JSON Pointer."""
    reasons: Mapping[str, int] = field(default_factory=dict[str, int])
    retry_after_s: float | None = None
    document: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """As received."""


class ApiError(SdkError):
    """The server refused, or failed."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.code}: {problem.detail or problem.title}")
        self.problem = problem


def read_problem(status: int, body: bytes, *, request_id: str = "", retry_after_s: float | None = None) -> Problem:
    """The problem in an answer; never fails, whatever the body is."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("code"), str):
        return _not_ours(status, request_id, retry_after_s)
    return Problem(
        status=status,
        code=document["code"],
        title=str(document.get("title", "")),
        detail=str(document.get("detail", "")),
        request_id=str(document.get("request_id") or request_id),
        errors=tuple(
            ProblemField(str(one.get("pointer", "")), str(one.get("detail", "")))
            for one in _list(document.get("errors"))
            if isinstance(one, dict)
        ),
        reasons={str(name): count for name, count in _dict(document.get("reasons")).items() if isinstance(count, int)},
        retry_after_s=retry_after_s,
        document=document,
    )


def _not_ours(status: int, request_id: str, retry_after_s: float | None) -> Problem:
    title, detail = (
        "The answer did not come from a Gridbroker API",
        f"It had status {status}. Check the address, and proxies on the way.",
    )
    document = {"title": title, "status": status, "detail": detail, "code": NOT_OURS, "request_id": request_id}
    return Problem(
        status=status,
        code=NOT_OURS,
        title=title,
        detail=detail,
        request_id=request_id,
        retry_after_s=retry_after_s,
        document=document,
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}
