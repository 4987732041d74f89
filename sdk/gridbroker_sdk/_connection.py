"""Requests with what each needs: the key, a bound on time, retries that are safe, errors as exceptions."""

import ipaddress
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from gridbroker_sdk._problem import ApiError, Problem, Unreachable, read_problem

RETRIED = frozenset({429, 503})
FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 30.0
CLOCK_FACTOR = "X-Clock-Factor"


class Connection:
    """One server and one key. `transport` replaces the network, `sleep` the waiting."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 30.0,
        max_retries: int = 4,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = check_url(url)
        self.clock_factor = 1
        """Of the last answer. Above 1 the server's time is simulated, and energy, cost and dwell are scaled by it."""
        self.sleep = sleep
        self._max_retries = max_retries
        headers = {"Accept": "application/json", "User-Agent": "gridbroker-sdk"}
        if key is not None:
            headers["Authorization"] = f"Bearer {check_key(key)}"
        # A proxy cannot reach this machine's own loopback address.
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout_s, transport=transport, trust_env=not is_loopback(self.url)
        )

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return _json(self._send("GET", path, params=params))

    def get_bytes(self, path: str) -> bytes:
        return self._send("GET", path, headers={"Accept": "*/*"}).content

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None) -> Any:
        """The answer's JSON; None when it has no body. The key is made up here unless given."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body, allow_nan=False).encode()
        return _json(self._send("POST", path, headers=headers, content=content))

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        for attempt in range(self._max_retries + 1):
            last = attempt == self._max_retries
            try:
                response = self._http.request(method, path, params=given, headers=dict(headers or {}), content=content)
            except (httpx.TransportError, httpx.TooManyRedirects) as error:
                if last:
                    raise Unreachable(f"{self.url} does not answer: {str(error) or type(error).__name__}") from None
                self.sleep(backoff_s(attempt, None))
                continue
            if response.is_success:
                self.clock_factor = _clock_factor(response)
                return response
            problem = _problem(response)
            if response.status_code not in RETRIED or last:
                raise ApiError(problem)
            self.sleep(backoff_s(attempt, problem.retry_after_s))
        raise AssertionError("the last attempt returns or raises")


def backoff_s(attempt: int, retry_after_s: float | None) -> float:
    """Seconds before the try after `attempt` (from 0): what the server asked for, else doubling from 0.25; never above 30."""
    return min(LONGEST_RETRY_S, FIRST_RETRY_S * 2**attempt if retry_after_s is None else retry_after_s)


def check_url(url: str) -> str:
    """The address without a slash at its end. Raises ValueError unless it is http(s) with a host and without a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an address like https://broker.example")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the address must not hold a user name or password")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} must end with its path")
    return url.rstrip("/")


def check_key(key: str) -> str:
    """Raises ValueError for what cannot be an API key; its text never repeats the key."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("an API key is one word of printable ASCII characters")
    return key


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problem(response: httpx.Response) -> Problem:
    return read_problem(
        response.status_code,
        response.content,
        request_id=response.headers.get("X-Request-Id", ""),
        retry_after_s=_retry_after_s(response.headers.get("Retry-After", "")),
    )


def _retry_after_s(text: str) -> float | None:
    """Seconds; None for the header's other form, a date."""
    return float(text) if text.isdecimal() and len(text) < 10 else None


def _clock_factor(response: httpx.Response) -> int:
    text = response.headers.get(CLOCK_FACTOR, "1")
    return int(text) if text.isdecimal() and len(text) < 10 else 1


def _json(response: httpx.Response) -> Any:
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError:
        raise ApiError(read_problem(response.status_code, b"", request_id=response.headers.get("X-Request-Id", ""))) from None
