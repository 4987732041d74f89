"""Wakes the long polls of agents when their orders change: one listening connection per process, however many agents wait.

A waiter holds no connection and no transaction. Without the listening connection (it broke, the database restarts) waiters look
again every two seconds by themselves, so orders come late at worst.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import structlog

CHANNEL = "gridbroker_orders"
POLL_S = 2.0
RETRY_S = 1.0
PROBE_S = 15.0
PROBE_TIMEOUT_S = 5.0

_log = structlog.get_logger()


class OrdersBell:
    """Usable without `start`, then everybody polls."""

    def __init__(self, *, poll_s: float = POLL_S, retry_s: float = RETRY_S) -> None:
        self.poll_s = poll_s
        self._retry_s = retry_s
        self._rings: dict[UUID, set[Ring]] = {}
        self._task: asyncio.Task[None] | None = None
        self.is_listening = False
        self.is_stopped = False

    async def start(self, dsn: str) -> None:
        """Listen in the background, reconnecting for as long as it takes. Returns at once."""
        plain = dsn.replace("+asyncpg", "", 1)
        self._task = asyncio.create_task(self._keep_listening(plain), name="orders-bell")

    async def stop(self) -> None:
        """Stop listening and send every waiter home."""
        self.is_stopped = True
        self._ring_all()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @contextmanager
    def subscribe(self, node_id: UUID) -> Iterator["Ring"]:
        """Hear every ring for the node from here on. Subscribe before reading the orders, so that none falls in between."""
        ring = Ring(self)
        self._rings.setdefault(node_id, set()).add(ring)
        try:
            yield ring
        finally:
            self._rings[node_id].discard(ring)
            if not self._rings[node_id]:
                del self._rings[node_id]

    async def wait(self, node_id: UUID, timeout_s: float) -> bool:
        """Sleep until the node is rung, at most `timeout_s`. True: look at its orders."""
        with self.subscribe(node_id) as ring:
            return await ring.wait(asyncio.get_running_loop().time() + timeout_s)

    async def _keep_listening(self, dsn: str) -> None:
        while True:
            try:
                await self._listen(dsn)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("orders_bell_lost", error=type(error).__name__)
            finally:
                self.is_listening = False
                self._ring_all()
            await asyncio.sleep(self._retry_s)

    async def _listen(self, dsn: str) -> None:
        lost = asyncio.Event()
        connection: Any = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "gridbroker-bell"})
        try:
            connection.add_termination_listener(lambda _connection: lost.set())
            await connection.add_listener(CHANNEL, self._on_notify)
            self.is_listening = True
            # Whatever was announced before we listened is found by looking.
            self._ring_all()
            while not await _happens(lost, within_s=PROBE_S):
                await connection.execute("select 1", timeout=PROBE_TIMEOUT_S)
        finally:
            connection.terminate()

    def _on_notify(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        with suppress(ValueError):
            for ring in self._rings.get(UUID(payload), ()):
                ring.set()

    def _ring_all(self) -> None:
        for rings in self._rings.values():
            for ring in rings:
                ring.set()


class Ring:
    """One waiter's ear."""

    def __init__(self, bell: OrdersBell) -> None:
        self._bell = bell
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, until: float) -> bool:
        """Sleep until rung, at the latest `until` (the event loop's clock). True: look again. False: the time is up, or we stop."""
        remaining_s = until - asyncio.get_running_loop().time()
        if remaining_s <= 0 or self._bell.is_stopped:
            return False
        listening = self._bell.is_listening
        if not await _happens(self._event, within_s=remaining_s if listening else min(remaining_s, self._bell.poll_s)):
            return not listening
        self._event.clear()
        return not self._bell.is_stopped


async def _happens(event: asyncio.Event, *, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
