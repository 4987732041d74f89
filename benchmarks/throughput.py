"""How many short workloads per second get from the queue to a receipt, and whether each does so exactly once."""

import asyncio
import sys
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec

from benchmarks import acknowledge, cpu, exactly_once
from benchmarks.agents import Plan, Tally
from benchmarks.figures import rounded
from benchmarks.scale import Scale
from benchmarks.stacks import GPU_MODEL, HOST, Market, child, end, hear, market, say, settings_in
from gridbroker.core.clock import SystemClock
from gridbroker.grid.zone import ZONES


def measure(folder: Path, scale: Scale) -> dict[str, Any]:
    """Queue all, bring the agents to service, wait until the last workload has ended; then submits while agents work."""
    with market(settings_in(folder), scale.clients) as opened:
        settings = opened.stack.settings
        queued = acknowledge.submit(opened, scale.workloads, rate_per_s=None)
        acknowledge.require_accepted(queued)
        with child("agents", _plan(opened, scale)) as agents:
            hear(agents)
            figures = _drain(opened, agents, scale)
            busy = acknowledge.submit(opened, round(scale.busy_s * scale.rate_per_s), scale.rate_per_s)
            total = scale.workloads + len(busy.latencies_ms)
            asyncio.run(exactly_once.wait_until_ended(settings, total, scale.drain_timeout_s))
            tally = msgspec.json.decode(end(agents), type=Tally)
        verdict = asyncio.run(exactly_once.examine(settings, tally, total))
    if verdict.problems:
        print(*verdict.problems, sep="\n", file=sys.stderr)
    return figures | {
        **acknowledge.report("busy_submit", busy),
        "queue_per_s": rounded(scale.workloads / queued.elapsed_s),
        "finished_exactly_once": not verdict.problems,
        "exactly_once_of": f"{verdict.exact} of {total}",
        "simulated_agents": scale.agents,
        "agent_retries": tally.retries,
        "agent_refusals": tally.refusals,
    }


def _drain(opened: Market, agents: Popen[bytes], scale: Scale) -> dict[str, Any]:
    """From the agents' coming to service to the end of the last settlement; no rate when that did not come in time."""
    settings = opened.stack.settings
    used_s, committed = cpu.used_s(opened.stack.processes), asyncio.run(exactly_once.committed(settings))
    released_at = SystemClock().now()
    say(agents, b"go")
    last_end, ended = asyncio.run(exactly_once.wait_until_ended(settings, scale.workloads, scale.drain_timeout_s))
    done = ended or 1
    figures: dict[str, Any] = {
        "workload_cpu_ms": cpu.per_piece_ms(used_s, cpu.used_s(opened.stack.processes), done),
        "workload_transactions": rounded((asyncio.run(exactly_once.committed(settings)) - committed) / done, 1),
    }
    if last_end is None:
        return figures | {"drain_s": None, "workloads_per_s": None}
    drain_s = (last_end - released_at).total_seconds()
    return figures | {"drain_s": rounded(drain_s), "workloads_per_s": rounded(scale.workloads / drain_s)}


def _plan(opened: Market, scale: Scale) -> Plan:
    tokens = opened.node_tokens(scale.agents)
    return Plan(host=HOST, port=opened.port, tokens=tokens, zones=list(ZONES), gpu_model=GPU_MODEL, run_s=acknowledge.RUN_S)
