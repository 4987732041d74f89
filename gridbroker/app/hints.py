"""Hints through dramatiq. Sending happens on a thread of its own, so a slow or dead Redis never holds up a request."""

import queue as standard_queue
import threading
from uuid import UUID

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker

from gridbroker.app.metrics import HINTS_DROPPED

ACTOR = "gridbroker.hint"
DRAMATIQ_QUEUE = "hints"
MAX_WAITING = 10_000
HEARTBEAT_TIMEOUT_MS = 15_000
MAINTENANCE_CHANCE = 1_000_000
"""Of a million: messages of a killed worker come back with the next command, not by luck."""

_log = structlog.get_logger()


def redis_broker(url: str) -> RedisBroker:
    """The broker that API, scheduler and workers share."""
    client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2)
    return RedisBroker(
        client=client,
        namespace="gridbroker",
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_CHANCE,
        middleware=[],
    )


class DramatiqQueue:
    """Drops hints, counted, when Redis is away or the buffer is full: the sweep finds the rows."""

    def __init__(self, url: str | None) -> None:
        self._broker = redis_broker(url) if url else None
        self._waiting: standard_queue.Queue[tuple[str, UUID] | None] = standard_queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
        if self._broker is not None:
            self._broker.declare_queue(DRAMATIQ_QUEUE)
            self._thread.start()

    def hint(self, name: str, row_id: UUID) -> None:
        if self._broker is None:
            return
        try:
            self._waiting.put_nowait((name, row_id))
        except standard_queue.Full:
            HINTS_DROPPED.inc()

    def close(self) -> None:
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(timeout=3)

    def _run(self) -> None:
        assert self._broker is not None
        down = False
        while (hint := self._waiting.get()) is not None:
            try:
                self._broker.enqueue(_message(*hint))
                down = False
            except (redis.RedisError, dramatiq.DramatiqError, OSError) as error:
                HINTS_DROPPED.inc()
                if not down:
                    _log.warning("hints_dropped", reason=str(error))
                down = True


def _message(name: str, row_id: UUID) -> dramatiq.Message[None]:
    return dramatiq.Message(queue_name=DRAMATIQ_QUEUE, actor_name=ACTOR, args=(name, str(row_id)), kwargs={}, options={})
