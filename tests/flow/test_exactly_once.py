"""However often each step is begun, by however many, and wherever they die: the same end, once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gridbroker.app.actions import advance_workloads
from gridbroker.broker.models import workloads
from gridbroker.core import claims
from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from tests.flow.conftest import THREE
from tests.flow.support.checks import MOVED_ONCE, check_market, check_proof, picture
from tests.flow.support.faults import DroppingQueue, Dying, InterruptedDatabase, Overtaken, Racing, Twice
from tests.flow.support.runs import MovedRun, finish, move_run
from tests.flow.support.world import Carry, Market, World

STEPS = {
    ("workload", "submitted", "starting"),
    ("workload", "starting", "running"),
    ("workload", "running", "migrating"),
    ("workload", "migrating", "starting"),
    ("workload", "running", "settling"),
    ("workload", "settling", "completed"),
    ("payout", "due", "sent"),
    ("payout", "sent", "paid"),
    ("receipt", "signed", "batched"),
    ("receipt", "batched", "anchored"),
}
"""Every step of a run that moves once."""


async def _run(market: Market, carry: Carry | None = None) -> MovedRun:
    run = await move_run(market, carry)
    await finish(market, run, carry)
    assert await picture(market.world) == MOVED_ONCE
    await check_market(market)
    await check_proof(market, run.workload_id)
    return run


async def test_undisturbed(market: Market) -> None:
    await _run(market)


async def test_every_step_and_every_message_twice(market: Market) -> None:
    market.world.repeats = 2
    await _run(market, Twice(market.world))


async def test_all_messages_again_when_it_is_over(market: Market) -> None:
    run = await _run(market)
    for agent in (run.source, run.target):
        answers = await agent.say_all_again()
        assert {code for path, code in answers if "/placements/" in path} == {409}
        assert {code for path, code in answers if path.endswith("/samples")} == {200}
    await market.world.sweep()
    assert await picture(market.world) == MOVED_ONCE


async def test_every_step_dies_before_its_record(market: Market) -> None:
    dying = Dying(market.world, after_commit=False)
    await _run(market, dying)
    assert dying.unrecorded >= STEPS, STEPS - dying.unrecorded
    _paid_once(market.world)


async def test_every_step_dies_after_its_record(market: Market) -> None:
    dying = Dying(market.world, after_commit=True)
    await _run(market, dying)
    assert dying.deaths > len(STEPS)
    _paid_once(market.world)


async def test_three_processes_race_for_every_step(market: Market) -> None:
    await _run(market, Racing(market.world))
    _paid_once(market.world)


@pytest.mark.parametrize("asleep_before", [3, 4])
async def test_every_step_is_overtaken(market: Market, asleep_before: int) -> None:
    """Whoever slept through the end of its claim drops what it has: before its decision, before its record."""
    await _run(market, Overtaken(market.world, asleep_before))
    _paid_once(market.world)


async def test_a_claim_keeps_others_away_until_it_runs_out(small: Market) -> None:
    workload_id = await small.submit()
    async with small.world.ports.db.as_system() as tx:
        [claim] = await claims.claim_due(tx, workloads, limit=9, for_s=30.0)
    assert claim.id == workload_id
    assert await advance_workloads(small.world.ports, [workload_id]) == await advance_workloads(small.world.ports, None) == 0
    await small.world.outlive_claims()
    assert await advance_workloads(small.world.ports, None) > 0
    async with small.world.ports.db.as_system() as tx:
        assert not await claims.record(tx, workloads, claim, due_in_s=None, state="failed")
    assert await small.state(workload_id) == "starting"


async def test_news_during_a_step_is_not_slept_through(small: Market) -> None:
    """The program ends after a worker has read that it runs, and before that worker records that there is nothing to do."""
    workload_id, agent, order = await small.started()
    await small.world.make_due()
    slow: Any = InterruptedDatabase(small.world.ports.db, 3, lambda: agent.exit(order, 0))
    await advance_workloads(small.world.other_ports(db=slow), None)
    assert await small.state(workload_id) == "completed"


async def test_a_card_charge_dies_between_the_rail_and_its_record(small: Market) -> None:
    body = {"amount": "25.00", "currency": "EUR", "payment_method": "pm_card_visa"}
    dying = Dying(small.world, after_commit=False)
    card_rail = small.world.ports.card_rail
    effects, calls = len(card_rail.effects), card_rail.calls
    assert (await small.customer.post("/api/v1/wallet/top-ups", json=body)).status_code == 201
    await small.world.drain(dying)
    assert ("charge", "due", "paid") in dying.unrecorded
    assert (len(card_rail.effects) - effects, card_rail.calls - calls > 1) == (1, True)
    assert (await small.customer.get("/api/v1/wallet")).json()["posted"] == "1025.00"
    await check_market(small)


@pytest.fixture
async def deaf(database: Database, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Market]:
    """A market without Redis."""
    world = await World.open(database, clock, tmp_path, DroppingQueue())
    yield await Market.open(world, nodes=THREE)
    await world.close()


async def test_sweeps_alone_finish_the_work(deaf: Market) -> None:
    await _run(deaf)


async def test_one_step_for_a_hint_that_many_workers_got(market: Market) -> None:
    workload_id = await market.submit()
    await asyncio.gather(*(market.world.drain(Racing(market.world, 4)) for _ in range(2)))
    events = await market.listed(workload_id, "events")
    assert sorted(event["kind"] for event in events) == ["placed", "submitted"]
    assert await market.world.count("decisions") == await market.world.count("leases") == 1


async def test_many_workloads_race_for_one_gpu(small: Market) -> None:
    world, racing = small.world, Racing(small.world)
    agent = world.agents["es"]
    ids = [await small.submit(name=f"w{number}", expected_hours=1, checkpoint=None) for number in range(8)]
    held: list[str] = []
    for _ in range(4 * len(ids)):
        await world.sweep(racing)
        assert await world.count("leases", "closed_at is null") <= 1
        for order in (await agent.orders()).values():
            held.append(order.workload_id)
            await agent.run(order)
            await world.drain(racing)
            await agent.exit(order, 0)
            await world.drain(racing)
        if not await world.count("workloads", "state <> 'completed'"):
            break
    assert sorted(held) == sorted(map(str, ids)), "each ran once"
    await small.settle_all(racing)
    await check_market(small)


async def test_many_workloads_race_for_some_gpus(world: World) -> None:
    """Workers that do not share a lock choose the same GPU; the database lets one of them have it."""
    market = await Market.open(world)
    await market.add_node("es", "ES", gpu_count=3)
    ids = [await market.submit(expected_hours=1) for _ in range(9)]
    workers = [world.other_ports() for _ in range(4)]
    await asyncio.gather(*(advance_workloads(ports, [one]) for ports, one in zip(workers, ids, strict=False)))
    for _ in range(6):
        await world.make_due()
        await asyncio.gather(*(advance_workloads(ports, None) for ports in workers))
    states = [await market.state(one) for one in ids]
    assert sorted(states) == ["starting"] * 3 + ["waiting"] * 6
    gpus = await world.rows("select gpu_index from leases where closed_at is null order by 1")
    assert [row["gpu_index"] for row in gpus] == [0, 1, 2]
    await check_market(market)


def _paid_once(world: World) -> None:
    """The rails were asked more than once and did each thing once: two providers, one top-up, one anchor."""
    ports = world.ports
    assert [len(rail.effects) for rail in (ports.card_rail, ports.payout_rail, ports.anchor_rail)] == [1, 2, 1]
