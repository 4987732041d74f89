"""How long a workload takes from being sent to running on an idle node, when only hints drive it."""

import asyncio
import sys
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from gridbroker_sdk import Client

from benchmarks.figures import rounded, spread
from benchmarks.scale import Scale
from benchmarks.stacks import GPU_MODEL, HOST, BenchmarkFailed, Market, market, settings_in, workload_body
from benchmarks.wire import Connection
from gridbroker.app.child import plain_environment
from gridbroker.app.embedded import process as processes
from gridbroker.broker.workload import ENDED, WorkloadState
from gridbroker.core.settings import PREFIX

SWEEP_S = 600.0
"""So rare that no sweep helps: whatever starts in time was moved by hints."""
PROGRAM_S = 0.5
POLL_S = 0.02
AGENT_READY_S = 60.0
WORKLOAD_TIMEOUT_S = 60.0
STOP_S = 10.0
BEFORE = frozenset({"submitted", "waiting", "starting"})
UNENDED = frozenset(WorkloadState) - ENDED


def measure(folder: Path, scale: Scale) -> dict[str, Any]:
    """One real agent process with one GPU, a real program, one workload after another."""
    with market(settings_in(folder, sweep_interval_s=SWEEP_S), customers=1) as opened:
        agent = processes.spawn(
            [sys.executable, "-P", "-m", "gridbroker.node_agent"], log=folder / "agent.log", env=_environment(opened, folder)
        )
        try:
            _wait_for_node(opened)
            seconds = asyncio.run(_sequence(opened, scale.sequential))
        finally:
            processes.stop(agent, [(processes.signal.SIGTERM, STOP_S)])
    figures = spread(seconds)
    return {
        "submit_to_running_p50_s": rounded(figures.p50),
        "submit_to_running_p95_s": rounded(figures.p95),
        "submit_to_running_max_s": rounded(figures.max),
        "submit_to_running_runs": figures.count,
    }


def _environment(opened: Market, folder: Path) -> dict[str, str]:
    values = {
        "server_url": opened.stack.url,
        "state_dir": str(folder / "agent"),
        "registration_token": opened.node_tokens(1)[0],
        "node_name": "benchmark",
        "zone": "FR",
        "gpu_model": GPU_MODEL,
        "energy_source": "modelled",
        "drain_s": "1",
    }
    return plain_environment() | {PREFIX + name.upper(): value for name, value in values.items()}


def _wait_for_node(opened: Market) -> None:
    with Client(opened.stack.url, opened.customer_keys[0]) as customer:
        if not processes.wait_until(lambda: bool(customer.offers(gpu_model=GPU_MODEL)["data"]), AGENT_READY_S):
            raise BenchmarkFailed(f"the agent's node was not there after {AGENT_READY_S:.0f} s")


async def _sequence(opened: Market, count: int) -> list[float]:
    """The first one is not counted: connections are opened and code is loaded by it."""
    async with Connection(HOST, opened.port, opened.customer_keys[0]) as connection:
        return [await _submit_to_running_s(connection) for _ in range(count + 1)][1:]


async def _submit_to_running_s(connection: Connection) -> float:
    sent = perf_counter()
    answer = await connection.call("POST", "/api/v1/workloads", workload_body(PROGRAM_S), f"Idempotency-Key: {uuid4()}\r\n")
    if answer.status != 201:
        raise BenchmarkFailed(f"submit: {answer.status} {answer.body.decode(errors='replace')}")
    path = f"/api/v1/workloads/{answer.json()['id']}"
    async with asyncio.timeout(WORKLOAD_TIMEOUT_S):
        await _leave(connection, path, BEFORE)
        running_s = perf_counter() - sent
        state = await _leave(connection, path, UNENDED)
    if state != "completed":
        raise BenchmarkFailed(f"{path} ended as {state}")
    return running_s


async def _leave(connection: Connection, path: str, states: frozenset[str]) -> str:
    """Look every 20 ms until the state is none of these, and return it."""
    while True:
        state = await _state(connection, path)
        if state not in states:
            return state
        await asyncio.sleep(POLL_S)


async def _state(connection: Connection, path: str) -> str:
    """As the API shows it; a state after `running` counts as running seen too late, never too early."""
    answer = await connection.call("GET", path)
    if answer.status != 200:
        raise BenchmarkFailed(f"{path}: {answer.status} {answer.body.decode(errors='replace')}")
    return answer.json()["state"]
