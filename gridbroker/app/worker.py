"""The worker process: takes hints from Redis and advances the rows they name. Without Redis it idles and reconnects by itself."""

import asyncio
import signal
from uuid import UUID

import dramatiq
import structlog

from gridbroker.app.actions import BY_HINT
from gridbroker.app.bootstrap import Ports, open_ports
from gridbroker.app.hints import ACTOR, DRAMATIQ_QUEUE, redis_broker
from gridbroker.app.metrics import ADVANCED
from gridbroker.core.settings import BadSettings, Settings

IDLE_POLL_MS = 100
"""How long an idle worker sleeps between two looks at Redis; dramatiq's default backs off to a second."""
ACTION_TIMEOUT_S = 120

_log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT."""
    if settings.redis_url is None:
        raise BadSettings("A worker needs GRIDBROKER_REDIS_URL; without Redis the scheduler alone advances rows.")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_ports(settings) as ports:
        worker = _worker(settings, ports, loop)
        worker.start()
        _log.info("worker_started", threads=settings.worker_threads)
        await stop.wait()
        await asyncio.to_thread(worker.stop)


def _worker(settings: Settings, ports: Ports, loop: asyncio.AbstractEventLoop) -> dramatiq.Worker:
    assert settings.redis_url is not None
    broker = redis_broker(settings.redis_url)

    def take(name: str, row_id: str) -> None:
        """One hint, on a dramatiq thread; the action itself runs on the one event loop, where the connections live."""
        asyncio.run_coroutine_threadsafe(_act(ports, name, UUID(row_id)), loop).result(ACTION_TIMEOUT_S)

    dramatiq.actor(actor_name=ACTOR, queue_name=DRAMATIQ_QUEUE, broker=broker)(take)
    return dramatiq.Worker(broker, worker_timeout=IDLE_POLL_MS, worker_threads=settings.worker_threads)


async def _act(ports: Ports, name: str, row_id: UUID) -> None:
    action = BY_HINT.get(name)
    if action is None:
        _log.warning("unknown_hint", name=name)
        return
    try:
        ADVANCED.labels(name).inc(await action(ports, [row_id]))
    except Exception:
        # The row keeps its claim until it runs out, then the sweep hands it to somebody: nothing is lost by dropping the hint.
        _log.exception("action_failed", name=name, row_id=str(row_id))
