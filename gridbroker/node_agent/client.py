"""HTTP to the broker with the standard library: one kept connection per client, and one client per thread."""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

MAX_JSON_BYTES = 16 * 1024 * 1024
TIMEOUT_S = 30.0
CHUNK_BYTES = 1024 * 1024
_RETRY_LATER = frozenset({408, 425, 429})


class Unreachable(Exception):
    """No answer, or one that says to try again: no connection, a dropped one, 5xx, 408, 429."""

    def __init__(self, detail: str, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Refused(Exception):
    """A definite no: any other 4xx, with the `code` of the problem document."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail


class Client:
    """Not thread-safe, except `close`, which also wakes a call that waits in another thread."""

    def __init__(self, server_url: str, key: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(server_url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._address = (parts.hostname or "", parts.port or (443 if self._tls else 80))
        self._prefix = parts.path.rstrip("/")
        self._headers = {"User-Agent": "gridbroker-agent"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False

    def call(self, method: str, path: str, body: str | None = None, timeout_s: float | None = None) -> Any:
        """The parsed JSON answer, None when it is empty. Raises Unreachable or Refused."""
        payload = None if body is None else body.encode()
        headers = {"Content-Type": "application/json"} if payload is not None else {}
        response = self._send(method, path, payload, headers, timeout_s)
        content = self._read(response)
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise Unreachable(f"{method} {path}: the answer is not JSON") from None

    def exists(self, path: str) -> bool:
        """HEAD: 2xx is true, 404 is false."""
        try:
            self._read(self._send("HEAD", path, None, {}))
        except Refused as refusal:
            if refusal.status == http.client.NOT_FOUND:
                return False
            raise
        return True

    def put(self, path: str, content: BinaryIO, size: int) -> None:
        """Streams `size` bytes."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._read(self._send("PUT", path, content, headers))

    def download(self, path: str, target: Path, max_bytes: int) -> None:
        """Streams the body into a new file. Raises Unreachable when it is longer than `max_bytes` or cut short."""
        response = self._send("GET", path, None, {})
        try:
            with target.open("wb") as file:
                while chunk := response.read(CHUNK_BYTES):
                    if file.tell() + len(chunk) > max_bytes:
                        self._drop()
                        raise Unreachable(f"GET {path}: longer than the {max_bytes} bytes announced")
                    file.write(chunk)
        except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
            self._drop()
            raise Unreachable(f"GET {path}: {error!r}") from error

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _send(
        self, method: str, path: str, body: bytes | BinaryIO | None, headers: Mapping[str, str], timeout_s: float | None = None
    ) -> http.client.HTTPResponse:
        reused = self._connection is not None
        try:
            response = self._exchange(method, path, body, headers, timeout_s)
        except (http.client.HTTPException, OSError) as error:
            self._drop()
            # A kept connection that the server has closed meanwhile is no news; every call may be repeated.
            if not reused or self._closed or isinstance(error, TimeoutError) or not (body is None or isinstance(body, bytes)):
                raise Unreachable(f"{method} {path}: {error!r}") from error
            return self._send(method, path, body, headers, timeout_s)
        if response.status >= http.client.BAD_REQUEST:
            raise self._problem(method, path, response)
        return response

    def _exchange(
        self, method: str, path: str, body: bytes | BinaryIO | None, headers: Mapping[str, str], timeout_s: float | None
    ) -> http.client.HTTPResponse:
        if self._closed:
            raise ConnectionAbortedError("this client was closed")
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s or self._timeout_s)
        connection.request(method, self._prefix + path, body=body, headers={**self._headers, **headers})
        return connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address
        if self._tls:
            connection = http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        connection.connect()
        assert connection.sock is not None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _problem(self, method: str, path: str, response: http.client.HTTPResponse) -> Exception:
        try:
            problem: Any = json.loads(self._read(response) or b"{}")
        except ValueError:
            problem = {}
        if not isinstance(problem, dict):
            problem = {}
        code, detail = str(problem.get("code", "")), str(problem.get("detail", response.reason))
        if response.status in _RETRY_LATER or response.status >= http.client.INTERNAL_SERVER_ERROR:
            return Unreachable(f"{method} {path}: {response.status} {detail}", _seconds(response.headers.get("Retry-After")))
        return Refused(response.status, code, detail)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            content = response.read(MAX_JSON_BYTES)
        except (http.client.HTTPException, OSError) as error:
            self._drop()
            raise Unreachable(f"the answer was cut off: {error!r}") from error
        if not response.isclosed():
            # Something is left unread, so the connection cannot carry another call.
            self._drop()
        elif response.will_close:
            self._drop()
        return content

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0
