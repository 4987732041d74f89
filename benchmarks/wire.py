"""HTTP/1.1 over one kept connection, for load generators: it does little, so that what is measured is the server."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgspec

TIMEOUT_S = 60.0
"""Beyond the longest long poll."""
_END = b"\r\n\r\n"


class BadAnswer(Exception):
    """Not HTTP, or a form of it that our server does not use."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body) if self.body else None


class Connection:
    """One caller's connection; calls queue behind one another. Opens on first use, and again after it broke."""

    def __init__(self, host: str, port: int, key: str | None = None) -> None:
        self._address = (host, port)
        credentials = f"Authorization: Bearer {key}\r\n" if key else ""
        self._fixed = f"Host: {host}:{port}\r\n{credentials}Content-Type: application/json\r\n"
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: bytes = b"", headers: str = "") -> Answer:
        """`headers` are whole lines, each with its CRLF. Raises OSError, TimeoutError, BadAnswer; the connection is then fresh."""
        head = f"{method} {path} HTTP/1.1\r\n{self._fixed}{headers}Content-Length: {len(body)}\r\n\r\n"
        async with self._turn:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    reader, writer = await self.open()
                    writer.write(head.encode() + body)
                    return await _read_answer(reader)
            except asyncio.IncompleteReadError as error:
                self.close()
                raise ConnectionResetError("the server closed the connection") from error
            except BaseException:
                self.close()
                raise

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    status, length = parse_head(await reader.readuntil(_END))
    return Answer(status, await reader.readexactly(length) if length else b"")


def parse_head(head: bytes) -> tuple[int, int]:
    """Status and content length of an answer. Raises BadAnswer."""
    first, *lines = head.removesuffix(_END).split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if not version.startswith(b"HTTP/1.1") or not rest[:3].isdigit():
        raise BadAnswer(first.decode(errors="replace"))
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if b"transfer-encoding" in fields:
        raise BadAnswer("an answer in chunks")
    return int(rest[:3]), int(fields.get(b"content-length", b"0"))
