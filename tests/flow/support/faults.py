"""Processes that die, run twice or race: ways to carry out an action other than once and undisturbed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from gridbroker.app.actions import Action
from gridbroker.core.db import Database, Tx
from tests.flow.support.world import World

MAX_DEATHS = 200
_STATES = sa.text(
    "select 'workload' as kind, id, state from workloads union all select 'charge', id, state from charges"
    " union all select 'payout', id, state from payouts union all select 'receipt', id, state from receipts"
)


class Crash(BaseException):
    """The process dies: no handler of ours may see it."""


class MortalDatabase:
    """A database whose user dies at its n-th transaction, before the commit or right after it."""

    def __init__(self, inner: Database, dies_at: int, *, after_commit: bool) -> None:
        self._inner, self._dies_at, self._after_commit = inner, dies_at, after_commit
        self._begun = 0
        self._dead = False
        self.unrecorded: set[tuple[str, str, str]] = set()
        """(kind, old state, new state) of the changes that died with it."""

    @asynccontextmanager
    async def as_system(self, *, repeatable: bool = False) -> AsyncIterator[Tx]:
        if self._dead:
            raise Crash
        self._begun += 1
        is_last = self._begun == self._dies_at
        async with self._inner.as_system(repeatable=repeatable) as tx:
            yield tx
            if is_last and not self._after_commit:
                await self._die(tx)
        if is_last:
            self._dead = True
            raise Crash

    async def _die(self, tx: Tx) -> None:
        self._dead = True
        would_be = await _states(tx)
        async with self._inner.as_system() as other:
            were = await _states(other)
        self.unrecorded = {(key[0], were[key], state) for key, state in would_be.items() if key in were and were[key] != state}
        raise Crash


async def _states(tx: Tx) -> dict[tuple[str, UUID], str]:
    return {(row.kind, row.id): row.state for row in await tx.execute(_STATES)}


class Dying:
    """Each step is begun by a process that dies in its first transaction, then by one that dies in its second, and so on, until it
    is recorded; the next step likewise. Claims of the dead run out."""

    def __init__(self, world: World, *, after_commit: bool) -> None:
        self._world, self._after_commit = world, after_commit
        self.deaths = 0
        self.unrecorded: set[tuple[str, str, str]] = set()

    async def __call__(self, action: Action, ids: list[UUID] | None) -> None:
        dies_at = 1
        for _ in range(MAX_DEATHS):
            before = await self._look()
            mortal: Any = MortalDatabase(self._world.ports.db, dies_at, after_commit=self._after_commit)
            try:
                await action(self._world.other_ports(db=mortal), ids)
            except Crash:
                self.deaths += 1
                self.unrecorded |= mortal.unrecorded
                await self._world.outlive_claims()
                dies_at = 1 if await self._look() != before else dies_at + 1
            else:
                return
        raise AssertionError("it never gets through")

    async def _look(self) -> dict[tuple[str, UUID], str]:
        async with self._world.ports.db.as_system() as tx:
            return await _states(tx)


class InterruptedDatabase:
    """Something happens just before its user's n-th transaction begins."""

    def __init__(self, inner: Database, at: int, happens: Callable[[], Awaitable[object]]) -> None:
        self._inner, self._left, self._happens = inner, at, happens

    @asynccontextmanager
    async def as_system(self, *, repeatable: bool = False) -> AsyncIterator[Tx]:
        self._left -= 1
        if self._left == 0:
            await self._happens()
        async with self._inner.as_system(repeatable=repeatable) as tx:
            yield tx


class Overtaken:
    """Each action is begun by a process that falls asleep before its n-th transaction. Its claims run out, another process does
    the work, and then the first wakes up and goes on as if nothing had happened."""

    def __init__(self, world: World, asleep_before: int) -> None:
        self._world, self._asleep_before = world, asleep_before

    async def __call__(self, action: Action, ids: list[UUID] | None) -> None:
        async def overtake() -> None:
            await self._world.outlive_claims()
            await action(self._world.ports, ids)

        sleepy: Any = InterruptedDatabase(self._world.ports.db, self._asleep_before, overtake)
        await action(self._world.other_ports(db=sleepy), ids)


class Racing:
    """Several processes do each action at the same time."""

    def __init__(self, world: World, processes: int = 3) -> None:
        self._processes = [world.other_ports() for _ in range(processes)]

    async def __call__(self, action: Action, ids: list[UUID] | None) -> None:
        await asyncio.gather(*(action(ports, ids) for ports in self._processes))


class Twice:
    """Each action is done again by a second process, right after."""

    def __init__(self, world: World) -> None:
        self._processes = (world.ports, world.other_ports())

    async def __call__(self, action: Action, ids: list[UUID] | None) -> None:
        for ports in self._processes:
            await action(ports, ids)


class DroppingQueue:
    """Redis is down: every hint is lost."""

    def hint(self, name: str, row_id: UUID) -> None:
        pass
