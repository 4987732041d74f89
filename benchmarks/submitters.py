"""A process of its own that submits workloads on a fixed schedule: plan on stdin, outcome on stdout, both one JSON document.

Open loop: request n leaves at n / rate after the start, and its latency counts from that moment. A slow answer delays what the same
client sends next, and that delay is counted too, so nothing slow is left out.
"""

import asyncio
import gc
import sys
from collections import Counter
from time import perf_counter
from uuid import uuid4

import msgspec

from benchmarks.figures import due_s, numbers_of
from benchmarks.wire import BadAnswer, Connection

CREATED = 201


class Plan(msgspec.Struct, kw_only=True):
    host: str
    port: int
    keys: list[str]
    """One client each."""
    body: msgspec.Raw
    total: int
    rate_per_s: float | None = None
    """None: each client sends as soon as it is answered."""


class Outcome(msgspec.Struct, kw_only=True):
    latencies_ms: list[float]
    """In the order of the schedule; of accepted requests alone."""
    errors: dict[str, int]
    """Status or exception of those that were not accepted."""
    elapsed_s: float
    lateness_max_ms: float
    """How late the generator itself was in waking up for a request, apart from waiting for an answer."""


class _Run:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._body = bytes(plan.body)
        self._latencies_ms: dict[int, float] = {}
        self._errors: Counter[str] = Counter()
        self._lateness_s = 0.0

    async def run(self) -> Outcome:
        plan = self._plan
        connections = [Connection(plan.host, plan.port, key) for key in plan.keys]
        for connection in connections:
            await connection.open()
        start = perf_counter() + 0.1
        async with asyncio.TaskGroup() as group:
            for client, connection in enumerate(connections):
                group.create_task(self._client(connection, client, start))
        elapsed_s = perf_counter() - start
        for connection in connections:
            connection.close()
        ordered = [self._latencies_ms[number] for number in sorted(self._latencies_ms)]
        lateness_ms = self._lateness_s * 1000
        return Outcome(latencies_ms=ordered, errors=dict(self._errors), elapsed_s=elapsed_s, lateness_max_ms=lateness_ms)

    async def _client(self, connection: Connection, client: int, start: float) -> None:
        for number in numbers_of(client, len(self._plan.keys), self._plan.total):
            due = await self._wait_for_turn(number, start)
            error = await self._submit(connection)
            if error is None:
                self._latencies_ms[number] = (perf_counter() - due) * 1000
            else:
                self._errors[error] += 1

    async def _wait_for_turn(self, number: int, start: float) -> float:
        """When the request was due."""
        if self._plan.rate_per_s is None:
            return perf_counter()
        due = start + due_s(number, self._plan.rate_per_s)
        ahead_s = due - perf_counter()
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
            self._lateness_s = max(self._lateness_s, perf_counter() - due)
        return due

    async def _submit(self, connection: Connection) -> str | None:
        try:
            answer = await connection.call("POST", "/api/v1/workloads", self._body, f"Idempotency-Key: {uuid4()}\r\n")
        except (OSError, TimeoutError, BadAnswer) as error:
            return type(error).__name__
        return None if answer.status == CREATED else f"{answer.status} {answer.body[:200].decode(errors='replace')}"


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    gc.disable()  # a collection would count as the server's latency; a run is short
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_Run(plan).run())) + b"\n")


if __name__ == "__main__":
    main()
