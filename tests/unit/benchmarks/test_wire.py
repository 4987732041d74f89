"""The load generator's HTTP against a server of plain sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from benchmarks.wire import BadAnswer, Connection, parse_head

Reply = Callable[[bytes], bytes]


@asynccontextmanager
async def server(reply: Reply) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answers each request head that has no body; its port, and the heads it got."""
    heads: list[bytes] = []
    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while b"close" not in (head := await reader.readuntil(b"\r\n\r\n")):
                heads.append(head)
                writer.write(reply(head))
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], heads
        await asyncio.gather(*served)


async def test_calls_share_one_connection_and_carry_the_key() -> None:
    good = b'HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{"a": 1}'
    async with server(lambda _: good) as (port, heads), Connection("127.0.0.1", port, "secret") as connection:
        answers = await asyncio.gather(*(connection.call("GET", f"/{number}") for number in range(5)))
    assert [answer.json() for answer in answers] == [{"a": 1}] * 5
    assert len(heads) == 5
    assert all(b"Authorization: Bearer secret\r\n" in head for head in heads)


async def test_a_dropped_connection_is_an_error_and_the_next_call_opens_another() -> None:
    async with server(lambda _: b"HTTP/1.1 204 No Content\r\n\r\n") as (port, _), Connection("127.0.0.1", port) as connection:
        with pytest.raises(OSError, match="closed"):
            await connection.call("GET", "/close")
        assert (await connection.call("GET", "/again")).status == 204


def test_the_head_names_status_and_length_whatever_its_case() -> None:
    assert parse_head(b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nX: y\r\n\r\n") == (201, 12)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.0 200 OK\r\n\r\n", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
)
def test_what_our_server_does_not_send_is_refused(head: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse_head(head)
