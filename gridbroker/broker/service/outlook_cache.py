"""The zones' outlooks, read at most once in a while: quotes need a range, not the last second."""

import asyncio
from datetime import datetime, timedelta

from gridbroker.core.clock import Clock
from gridbroker.core.db import Database
from gridbroker.grid import service as grid
from gridbroker.grid.signal import Outlook

MAX_AGE = timedelta(seconds=10)
"""Wall time."""


class OutlookCache:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock
        self._outlooks: dict[str, Outlook] = {}
        self._read_at: datetime | None = None
        self._reading = asyncio.Lock()

    async def get(self) -> dict[str, Outlook]:
        if self._is_fresh():
            return self._outlooks
        async with self._reading:
            if not self._is_fresh():
                async with self._db.as_system() as tx:
                    self._outlooks = await grid.outlooks(tx, self._clock.now())
                self._read_at = self._clock.wall()
        return self._outlooks

    def _is_fresh(self) -> bool:
        return self._read_at is not None and self._clock.wall() - self._read_at < MAX_AGE
