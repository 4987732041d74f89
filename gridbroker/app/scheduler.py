"""The scheduler process: one leader looks, at fixed intervals, for rows that are due though no hint came, and does them itself.

It needs the database alone, so all work finishes with Redis stopped, only later. Several may run; an advisory lock picks one, and
when its connection dies the next takes over.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gridbroker.app import actions
from gridbroker.app.bootstrap import Ports, open_ports
from gridbroker.app.metrics import ADVANCED
from gridbroker.core.settings import Settings

LEADER_LOCK = 0x6772_6C64
RETRY_S = 2.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sweep:
    name: str
    every_s: float
    """Wall time."""
    action: actions.Action
    first_after_s: float = 0.0
    """How long a new leader waits before its first look."""


def sweeps(settings: Settings, factor: int) -> list[Sweep]:
    """What is looked for, and how often. Intervals in grid time shrink with a simulated clock."""
    every = settings.sweep_interval_s
    return [
        Sweep("grid", max(0.25, settings.grid_refresh_interval_s / factor), actions.refresh_grid),
        Sweep("workloads", every, actions.advance_workloads),
        Sweep("charges", every, actions.advance_charges),
        Sweep("payouts", every, actions.advance_payouts),
        Sweep("receipts", min(every * 2, 600.0), actions.batch_receipts),
        # A new leader may follow an outage of our own, in which nobody could hear the nodes: they get time to be heard first.
        Sweep("nodes", max(0.5, settings.node_lost_after_s / 6), actions.find_lost_nodes, settings.node_lost_after_s),
        Sweep("answers", 3600.0, actions.forget_answers),
    ]


async def run(settings: Settings) -> None:
    """Sweep until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_ports(settings) as ports:
        while not stop.is_set():
            try:
                async with _leadership(ports, stop) as lost:
                    await _lead(ports, stop, lost)
            except (OSError, SQLAlchemyError) as error:
                _log.warning("scheduler_waits_for_database", reason=str(error))
                await _sleep(stop, RETRY_S)


async def _lead(ports: Ports, stop: asyncio.Event, lost: asyncio.Event) -> None:
    _log.info("scheduler_leads")
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for sweep in sweeps(ports.settings, ports.clock.factor):
            group.create_task(_repeat(ports, sweep, ended))
        waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(lost.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        ended.set()


async def _repeat(ports: Ports, sweep: Sweep, stop: asyncio.Event) -> None:
    await _sleep(stop, sweep.first_after_s)
    while not stop.is_set():
        try:
            ADVANCED.labels(sweep.name).inc(await sweep.action(ports, None))
        except Exception:  # a sweep that fails is tried again at its next turn; the others must go on
            _log.exception("sweep_failed", name=sweep.name)
        await _sleep(stop, sweep.every_s)


@asynccontextmanager
async def _leadership(ports: Ports, stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """Hold the advisory lock on a connection of its own; the event is set when that connection is gone."""
    lost = asyncio.Event()
    async with ports.db.system.connect() as opened:
        connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
        while not await connection.scalar(sa.text("select pg_try_advisory_lock(:key)"), {"key": LEADER_LOCK}):
            if await _sleep(stop, RETRY_S):
                break
        watch = asyncio.create_task(_watch(connection, lost))
        try:
            yield lost
        finally:
            watch.cancel()


async def _watch(connection: AsyncConnection, lost: asyncio.Event) -> None:
    try:
        while True:
            await asyncio.sleep(RETRY_S)
            await connection.execute(sa.text("select 1"))
    except (OSError, SQLAlchemyError):
        lost.set()


async def _sleep(stop: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set meanwhile."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
