"""Runs that several tests begin with."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from gridbroker.node_agent.protocol import Action, Order
from tests.flow.support.agent import ScriptedAgent
from tests.flow.support.world import Carry, Market

TOTAL_STEPS = 1200
STEPS_PER_HOUR = 100
QUARTER = timedelta(minutes=15)
MAX_QUARTERS = 16


@dataclass(slots=True)
class MovedRun:
    workload_id: UUID
    source: ScriptedAgent
    source_order: Order
    target: ScriptedAgent
    resume_order: Order
    step: int
    checkpoint: bytes
    leases_during_move: int


async def until_migrating(market: Market, carry: Carry | None = None, **changes: Any) -> tuple[UUID, ScriptedAgent, Order]:
    """A twelve-hour run from noon that is ordered to move when Spain turns dirty in the evening."""
    world = market.world
    workload_id = await market.submit(**changes)
    await world.drain(carry)
    agent, order = await market.placed(workload_id)
    await agent.run(order)
    await agent.log(order, "begun")
    await world.drain(carry)
    await world.advance(timedelta(hours=5, minutes=45))
    for quarter in range(MAX_QUARTERS):
        await world.advance(QUARTER)
        await agent.progress(order, 600 + quarter * STEPS_PER_HOUR // 4, TOTAL_STEPS)
        await world.sweep(carry)
        if await market.state(workload_id) == "migrating":
            return workload_id, agent, await agent.order(order.placement_id)
    raise AssertionError("it never moves")


async def move_run(market: Market, carry: Carry | None = None) -> MovedRun:
    """The same, checkpointed and handed over; the target has its order and has not begun."""
    world = market.world
    workload_id, source, order = await until_migrating(market, carry)
    assert order.action is Action.CHECKPOINT_AND_STOP
    leases = await world.count("leases", "closed_at is null")
    [reserved] = [one for one in await market.listed(workload_id, "placements") if one["state"] == "reserved"]
    target = world.agents[reserved["node_name"]]
    assert await target.orders() == {}, "nothing is ordered before the checkpoint is safe"
    step = (await market.show(workload_id))["progress"]["step"]
    content = f"weights after step {step}".encode()
    response = await source.checkpoint(order, step, {"model.pt": content})
    assert response.status_code == 201, response.text
    await source.exit(order, 75)
    await world.drain(carry)
    if not await target.orders():
        await world.sweep(carry)
    resume_order = await target.order(reserved["id"])
    return MovedRun(workload_id, source, order, target, resume_order, step, content, leases)


async def finish(market: Market, run: MovedRun, carry: Carry | None = None) -> None:
    """The target runs the rest; everything is settled."""
    world = market.world
    await run.target.run(run.resume_order)
    await run.target.log(run.resume_order, "resumed")
    await _quiet(market, carry)
    await world.advance(timedelta(hours=4))
    await run.target.progress(run.resume_order, TOTAL_STEPS, TOTAL_STEPS)
    await run.target.exit(run.resume_order, 0)
    await _quiet(market, carry)
    await market.settle_all(carry)


async def _quiet(market: Market, carry: Carry | None) -> None:
    await market.world.drain(carry)
    await market.world.sweep(carry)
