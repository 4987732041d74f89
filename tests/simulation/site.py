"""A node of the simulated market: what its machine, its agent and the programs on it do, drawn from the market's dice."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from gridbroker.node_agent.protocol import Action, Order, ReportKind
from tests.flow.support.agent import ScriptedAgent
from tests.simulation.network import UnreliableNetwork

STEPS_PER_HOUR = 100
REFUSES = 0.05
NEVER_STARTS = 0.04
CHECKPOINTS = 0.6
HANGS = 0.15
"""Chance that a program that is told to stop takes until the next tick."""
_HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Script:
    """How one workload behaves wherever it runs."""

    total_steps: int
    pace: float
    """Steps per hour; the owner expected STEPS_PER_HOUR."""
    checkpoints: bool
    fails_at: list[int] = field(default_factory=list[int])
    """Steps at which it fails, each once."""


@dataclass(slots=True)
class Program:
    order: Order
    script: Script
    step: int
    worked_until: datetime

    def work(self, now: datetime) -> None:
        self.step = min(self.script.total_steps, self.step + round(self.script.pace * ((now - self.worked_until) / _HOUR)))
        self.worked_until = now


class Site:
    def __init__(
        self, agent: ScriptedAgent, network: UnreliableNetwork, scripts: dict[str, Script], random: Random, happened: Counter[str]
    ) -> None:
        self.agent, self.network = agent, network
        self._scripts, self._random, self._happened = scripts, random, happened
        self._programs: dict[str, Program] = {}
        self._over: set[str] = set()
        """Placements that ended here, were refused, or are ignored."""
        self._boots = 1

    # --- the machine ---------------------------------------------------------------------------------------------------

    def die(self) -> None:
        """The power fails: programs, counters and the agent are gone at once."""
        self.agent.alive = False
        self._over |= set(self._programs)
        self._programs.clear()
        self.agent.busy = {}

    def vanish(self) -> None:
        """Only the network fails: programs go on."""
        self.agent.alive = False

    async def come_back(self) -> None:
        agent = self.agent
        agent.alive = True
        if not self._programs:
            self._boots += 1
            agent.boot_id = f"boot-{agent.name}-{self._boots}"
            agent.energy_mj = [0] * agent.gpu_count
            agent._read_at = None
        await self.look_alive()

    async def look_alive(self) -> None:
        await self.agent.sample()
        assert (await self.agent.beat()).status_code == 200

    # --- the agent -----------------------------------------------------------------------------------------------------

    async def act(self, now: datetime) -> None:
        """Follow the orders, let programs work up to now, and tell."""
        orders = await self.agent.orders()
        for placement_id in set(self._programs) - set(orders):
            await self._fence(self._programs.pop(placement_id))
        for placement_id, order in orders.items():
            if placement_id in self._programs:
                await self._go_on(self._programs[placement_id], order, now)
            elif placement_id not in self._over:
                await self._begin(order, now)

    async def _fence(self, program: Program) -> None:
        """Its lease is over: the server wants no word of it."""
        self._over.add(program.order.placement_id)
        for kind in (ReportKind.PROGRESS, ReportKind.EXITED):
            answer = await self.agent.report(program.order, kind, step=program.step, exit_code=0)
            assert answer.status_code == 409, "a late report of a lease that is over was taken"
        await self.agent.halt(program.order)
        self._happened["fenced"] += 1

    async def _begin(self, order: Order, now: datetime) -> None:
        if order.action is not Action.RUN:
            await self._end(order, 75, "stopped_unstarted", reason="it never started here")
        elif self._roll(REFUSES, "refused"):
            self._over.add(order.placement_id)
            answer = await self.agent.report(order, ReportKind.REFUSED, reason="the disk is full")
            assert answer.status_code == 204, answer.text
        elif self._roll(NEVER_STARTS, "never_started"):
            self._over.add(order.placement_id)
        else:
            step = order.resume.step if order.resume else 0
            self._programs[order.placement_id] = Program(order, self._scripts[order.workload_id], step, now)
            await self.agent.run(order)

    async def _go_on(self, program: Program, order: Order, now: datetime) -> None:
        program.work(now)
        script = program.script
        failing = next((step for step in script.fails_at if step <= program.step), None)
        if failing is not None:
            script.fails_at.remove(failing)
            await self._end(order, 1, "program_failed", step=failing)
        elif program.step >= script.total_steps:
            await self._end(order, 0, "done", step=program.step, total_steps=script.total_steps)
        elif order.action is not Action.RUN:
            await self._stop(program, order)
        else:
            await self._tell_progress(program, order)

    async def _tell_progress(self, program: Program, order: Order) -> None:
        await self.agent.progress(order, program.step, program.script.total_steps)
        if program.script.checkpoints and program.step and self._roll(CHECKPOINTS, "checkpointed"):
            await self._checkpoint(program, order)

    async def _stop(self, program: Program, order: Order) -> None:
        if self._roll(HANGS, "hung"):
            return
        if program.script.checkpoints and program.step:
            await self._checkpoint(program, order)
            await self._end(order, self._random.choice([75, 143]), "stopped", step=program.step)
        else:
            await self._end(order, 143, "stopped", step=program.step)

    async def _checkpoint(self, program: Program, order: Order) -> None:
        answer = await self.agent.checkpoint(order, program.step)
        assert answer.status_code == 201, answer.text

    async def _end(self, order: Order, code: int, what: str, **details: Any) -> None:
        self._over.add(order.placement_id)
        self._programs.pop(order.placement_id, None)
        self._happened[what] += 1
        await self.agent.exit(order, code, **details)

    def _roll(self, chance: float, what: str) -> bool:
        if self._random.random() >= chance:
            return False
        self._happened[what] += 1
        return True
