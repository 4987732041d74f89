"""A process of its own with many simulated node agents, each speaking the real protocol; only the programs are made up.

Reads one JSON plan line on stdin, registers the nodes and prints a line; starts to work at the next line, and stops when stdin
ends, printing what it did as one JSON line.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import msgspec

from benchmarks.wire import Answer, BadAnswer, Connection
from gridbroker.core.clock import SystemClock
from gridbroker.node_agent.protocol import (
    Action,
    EnergyKind,
    Heartbeat,
    HeldPlacement,
    LogBatch,
    LogLine,
    NodeCredentials,
    NodeRegistration,
    Order,
    Orders,
    Report,
    ReportKind,
    Sample,
    SampleBatch,
)

SELF = "/api/v1/nodes/self"
POLL_WAIT_S = 20
RETRIES = 8
RETRY_PAUSE_S = 0.25
POWER_W = 350.0

_clock = SystemClock()


class Plan(msgspec.Struct, kw_only=True):
    host: str
    port: int
    tokens: list[str]
    """One node each."""
    zones: list[str]
    gpu_model: str
    run_s: float
    """How long each program takes."""


class Tally(msgspec.Struct, kw_only=True):
    runs: dict[str, int]
    """How often each workload was run to its end."""
    refusals: dict[str, int]
    """Messages that the server did not take, by path and status."""
    retries: int


class Agent:
    """One node with one GPU: a connection for the long poll, one for everything it tells."""

    def __init__(self, plan: Plan, number: int, tally: Tally) -> None:
        self._plan, self._number, self._tally = plan, number, tally
        self._held: dict[tuple[str, int], bool] = {}
        self._boot_id = uuid4().hex
        self._sample_seq = 0
        self._energy_mj = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def register(self) -> None:
        plan = self._plan
        registration = NodeRegistration(
            token=plan.tokens[self._number],
            name=f"simulated-{self._number}",
            zone=plan.zones[self._number % len(plan.zones)],
            gpu_model=plan.gpu_model,
            gpu_count=1,
            pue=1.2,
            sent_at=_now(),
        )
        async with Connection(plan.host, plan.port) as connection:
            answer = await connection.call("POST", "/api/v1/nodes", msgspec.json.encode(registration))
        if answer.status != 201:
            raise RuntimeError(f"not registered: {answer.status} {answer.body.decode(errors='replace')}")
        credentials = msgspec.json.decode(answer.body, type=NodeCredentials)
        self._heartbeat_s = credentials.heartbeat_interval_s
        self._orders = Connection(plan.host, plan.port, credentials.key)
        self._messages = Connection(plan.host, plan.port, credentials.key)

    async def work(self) -> None:
        await self._beat()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_beating())
            group.create_task(self._follow_orders())

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            await self._beat()

    async def _beat(self) -> None:
        held = [HeldPlacement(placement_id=key[0], epoch=key[1], running=running) for key, running in self._held.items()]
        await self._tell("heartbeat", Heartbeat(sent_at=_now(), placements=tuple(held)))

    async def _follow_orders(self) -> None:
        version, wait_s = -1, 0
        while True:
            path = f"{SELF}/orders?version={version}&wait_s={wait_s}"
            answer = await self._persist(lambda path=path: self._orders.call("GET", path))
            orders = msgspec.json.decode(answer.body, type=Orders)
            version, wait_s = orders.version, POLL_WAIT_S
            self._match(orders)

    def _match(self, orders: Orders) -> None:
        wanted = {(order.placement_id, order.epoch): order for order in orders.orders if order.action is Action.RUN}
        for key in [key for key, running in self._held.items() if not running and key not in wanted]:
            del self._held[key]
        for key, order in wanted.items():
            if key not in self._held:
                self._held[key] = True
                task = asyncio.create_task(self._run(order))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _run(self, order: Order) -> None:
        """What an agent sends about a program that runs, says two lines, and ends well; the end comes last."""
        path = f"placements/{order.placement_id}"
        await self._tell("samples", self._samples(0.0))
        await self._tell(f"{path}/reports", Report(epoch=order.epoch, seq=1, kind=ReportKind.RUNNING, at=_now()))
        await asyncio.sleep(self._plan.run_s)
        await self._tell("samples", self._samples(self._plan.run_s))
        lines = tuple(LogLine(seq=seq, at=_now(), stream="stdout", text=f"line {seq}") for seq in (1, 2))
        await self._tell(f"{path}/logs", LogBatch(epoch=order.epoch, lines=lines))
        exited = Report(epoch=order.epoch, seq=2, kind=ReportKind.EXITED, at=_now(), exit_code=0)
        self._held[order.placement_id, order.epoch] = False
        self._tally.runs[order.workload_id] = self._tally.runs.get(order.workload_id, 0) + 1
        await self._tell(f"{path}/reports", exited)

    def _samples(self, elapsed_s: float) -> SampleBatch:
        self._sample_seq += 1
        self._energy_mj += round(POWER_W * elapsed_s * 1000)
        sample = Sample(
            seq=self._sample_seq,
            gpu_index=0,
            at=_now(),
            energy_mj=self._energy_mj,
            power_w=POWER_W,
            utilisation=0.5,
            kind=EnergyKind.MODELLED,
        )
        return SampleBatch(boot_id=self._boot_id, samples=(sample,))

    async def _tell(self, what: str, message: Any) -> None:
        body = msgspec.json.encode(message)
        answer = await self._persist(lambda: self._messages.call("POST", f"{SELF}/{what}", body))
        if answer.status >= 300:
            reason = f"{what.rpartition('/')[2]} {answer.status}"
            self._tally.refusals[reason] = self._tally.refusals.get(reason, 0) + 1

    async def _persist(self, call: Any) -> Answer:
        """All messages may be sent again: a lost answer costs a retry."""
        for attempt in range(RETRIES):
            try:
                answer: Answer = await call()
            except (OSError, TimeoutError, BadAnswer):
                if attempt == RETRIES - 1:
                    raise
            else:
                if answer.status < 500 and answer.status != 429:
                    return answer
            self._tally.retries += 1
            await asyncio.sleep(RETRY_PAUSE_S)
        raise TimeoutError("the server keeps failing")


async def run(plan: Plan) -> Tally:
    tally = Tally(runs=Counter(), refusals=Counter(), retries=0)
    agents = [Agent(plan, number, tally) for number in range(len(plan.tokens))]
    for agent in agents:
        await agent.register()
    print("registered", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.readline)
    await _until_stdin_ends([agent.work() for agent in agents])
    return tally


async def _until_stdin_ends(work: list[Coroutine[Any, Any, None]]) -> None:
    """Raises what an agent raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.buffer.read))
    done, _ = await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _now() -> str:
    return _clock.now().isoformat()


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    tally = asyncio.run(run(plan))
    print(msgspec.json.encode(tally).decode(), flush=True)


if __name__ == "__main__":
    main()
