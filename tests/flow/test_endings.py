"""Every way in which a run may end before its time, each settled to the cent."""

from datetime import timedelta
from uuid import UUID

import pytest

from tests.flow.support.agent import ScriptedAgent
from tests.flow.support.checks import check_market, check_proof
from tests.flow.support.runs import until_migrating
from tests.flow.support.world import Market, Row, World, ok, refused

HOUR = timedelta(hours=1)


async def _ended(market: Market, workload_id: UUID, state: str, cost_eur: str, **figures: object) -> Row:
    """Settled and proven, in this state and at this cost."""
    await market.world.drain()
    await market.settle_all()
    shown = await market.show(workload_id)
    expected = {"state": state, "cost_eur": cost_eur, **figures}
    assert {name: shown[name] for name in expected} == expected, shown["state_reason"]
    statement = await check_proof(market, workload_id)
    assert statement["outcome"] == state
    await check_market(market)
    return shown


# --- stopped by its owner ------------------------------------------------------------------------------------------------


async def test_cancelled_before_it_was_placed(world: World) -> None:
    market = await Market.open(world)
    workload_id = await market.submit()
    await world.drain()
    assert await market.state(workload_id) == "waiting"
    ok(await market.ask(workload_id, "cancel"))
    shown = await _ended(market, workload_id, "cancelled", "0.00", placements=[], energy_mj="0")
    assert shown["state_reason"] == "stopped by its owner before it was placed"
    assert await world.count("payouts") == 0


async def test_cancelled_before_anybody_looked_at_it(small: Market) -> None:
    workload_id = await small.submit()
    ok(await small.ask(workload_id, "cancel"))
    await _ended(small, workload_id, "cancelled", "0.00", placements=[])
    assert await small.world.agents["es"].orders() == {}


async def test_cancelled_while_starting(small: Market) -> None:
    workload_id = await small.submit()
    await small.world.drain()
    agent, order = await small.placed(workload_id)
    ok(await small.ask(workload_id, "cancel"))
    await small.world.drain()
    assert (await agent.order(order.placement_id)).action == "checkpoint_and_stop"
    await agent.exit(order, 143)
    await _ended(small, workload_id, "cancelled", "0.00", restarts=0)


async def test_cancelled_while_running(small: Market) -> None:
    workload_id, agent, order = await small.started()
    await small.world.advance(HOUR)
    ok(await small.ask(workload_id, "cancel"))
    ok(await small.ask(workload_id, "cancel"))
    await small.world.drain()
    assert await small.state(workload_id) == "stopping"
    assert (await agent.order(order.placement_id)).action == "checkpoint_and_stop"
    await small.world.advance(timedelta(minutes=15))
    await agent.exit(order, 143)
    shown = await _ended(small, workload_id, "cancelled", "3.00", restarts=0)
    assert shown["placements"][0]["end_reason"] == "stopped"
    refused(await small.ask(workload_id, "cancel"), 409, "conflict")
    refused(await small.ask(workload_id, "complete"), 409, "conflict")


async def test_cancelled_while_moving(market: Market) -> None:
    workload_id, source, order = await until_migrating(market)
    ok(await market.ask(workload_id, "cancel"))
    await market.world.drain()
    ok(await source.checkpoint(order, 700))
    await source.exit(order, 75)
    shown = await _ended(market, workload_id, "cancelled", "16.80", moves=0)
    assert [one["end_reason"] for one in shown["placements"]] == ["stopped", "voided"]


async def test_completed_by_its_owner(small: Market) -> None:
    workload_id, agent, order = await small.started()
    await small.world.advance(HOUR)
    ok(await small.ask(workload_id, "complete"))
    await small.world.drain()
    await agent.exit(order, 143)
    shown = await _ended(small, workload_id, "completed", "2.40")
    assert shown["state_reason"] == "completed by its owner"


async def test_done_before_the_order_to_stop_arrived(small: Market) -> None:
    workload_id, agent, order = await small.started()
    await small.world.advance(HOUR)
    ok(await small.ask(workload_id, "cancel"))
    await small.world.drain()
    await agent.exit(order, 0)
    await _ended(small, workload_id, "completed", "2.40")


# --- money and time ------------------------------------------------------------------------------------------------------


async def test_the_budget_runs_out(small: Market) -> None:
    workload_id, agent, order = await small.started(budget={"amount": "4.80", "currency": "EUR"}, expected_hours=1.5)
    await small.world.advance(2 * HOUR - timedelta(seconds=1))
    await small.world.sweep()
    assert await small.state(workload_id) == "running"
    await small.world.advance(timedelta(seconds=1))
    await small.world.sweep()
    assert await small.state(workload_id) == "stopping"
    await small.world.advance(timedelta(minutes=10))
    await agent.exit(order, 143)
    shown = await _ended(small, workload_id, "failed", "4.80", hold_eur="4.80")
    assert shown["state_reason"] == "budget used up"


async def test_the_budget_runs_out_during_a_move(market: Market) -> None:
    """The source hangs on its way out: it is stopped for good, and the target is given back."""
    workload_id, source, order = await until_migrating(market, budget={"amount": "30.00", "currency": "EUR"})
    await market.world.advance(6 * HOUR)
    await market.world.sweep()
    assert await market.state(workload_id) == "stopping"
    assert await market.world.count("workloads", "due_at <= clock_timestamp()") == 0, "nothing spins"
    await source.exit(order, 137)
    await _ended(market, workload_id, "failed", "30.00", moves=0)


async def test_a_node_that_never_stops(small: Market) -> None:
    """It lives and beats, and reports nothing: given up after the grace, an hour, and the time for the checkpoint's 64 MiB."""
    workload_id, *_ = await small.started()
    ok(await small.ask(workload_id, "cancel"))
    await small.world.drain()
    ordered_at = small.world.clock.wall()
    await small.world.execute("update placements set ordered_wall_at = :at", at=ordered_at)
    await small.world.advance(timedelta(seconds=30 + 3600 + 6))
    await small.world.sweep()
    assert await small.state(workload_id) == "stopping"
    await small.world.advance(timedelta(seconds=1))
    await small.world.sweep()
    shown = await _ended(small, workload_id, "cancelled", "2.424667")
    assert shown["state_reason"] == "the node did not stop it in time"


async def test_the_deadline_passes_while_it_waits(world: World) -> None:
    market = await Market.open(world)
    deadline = world.clock.now() + HOUR
    workload_id = await market.submit(expected_hours=0.5, deadline_at=deadline.isoformat())
    await world.drain()
    await world.advance(2 * HOUR)
    await world.sweep()
    shown = await _ended(market, workload_id, "failed", "0.00")
    assert shown["state_reason"] == "deadline passed before a place was found"


# --- failures ------------------------------------------------------------------------------------------------------------


async def test_a_program_that_fails_is_tried_again(small: Market) -> None:
    """After a delay: the GPU that it freed itself does not wake it."""
    workload_id, agent, order = await small.started()
    await small.world.advance(HOUR)
    await agent.exit(order, 1)
    await small.world.drain()
    assert await small.state(workload_id) == "waiting"
    await small.world.sweep()
    agent, again = await small.placed(workload_id)
    assert (again.epoch, again.attempt) == (2, 2)
    await agent.run(again)
    await small.world.advance(HOUR)
    await agent.exit(again, 0)
    shown = await _ended(small, workload_id, "completed", "4.80", restarts=1, moves=0)
    assert [(one["end_reason"], one["exit_code"]) for one in shown["placements"]] == [("failed", 1), ("done", 0)]


async def test_too_many_failures(small: Market) -> None:
    workload_id, agent, order = await small.started(max_restarts=1)
    await small.world.advance(HOUR)
    await agent.exit(order, 1)
    await small.world.drain()
    await small.world.sweep()
    agent, again = await small.placed(workload_id)
    await agent.run(again)
    await small.world.advance(HOUR)
    await agent.exit(again, 2)
    shown = await _ended(small, workload_id, "failed", "4.80")
    assert shown["state_reason"] == "exit code 2"
    assert len(shown["placements"]) == 2


async def test_a_refused_order(small: Market) -> None:
    workload_id = await small.submit(max_restarts=0)
    await small.world.drain()
    agent, order = await small.placed(workload_id)
    ok(await agent.report(order, "refused", reason="no such program: train"))
    shown = await _ended(small, workload_id, "failed", "0.00")
    assert shown["state_reason"] == "no such program: train"
    assert shown["placements"][0]["end_reason"] == "refused"


async def test_a_program_may_ask_to_be_resumed(small: Market) -> None:
    """Exit 75 by itself is no failure: it goes on from its checkpoint."""
    workload_id, agent, order = await small.started(max_restarts=0)
    await small.world.advance(HOUR)
    ok(await agent.checkpoint(order, 90))
    await agent.exit(order, 75)
    await small.world.drain()
    await small.world.sweep()
    agent, again = await small.placed(workload_id)
    assert again.resume is not None and again.resume.step == 90
    await agent.run(again)
    await agent.exit(again, 0)
    await _ended(small, workload_id, "completed", "2.40", restarts=0, moves=0)


async def test_a_node_that_never_starts_what_it_was_ordered(small: Market) -> None:
    workload_id = await small.submit(max_restarts=0)
    await small.world.drain()
    ordered_at = small.world.clock.wall() - timedelta(seconds=119)
    await small.world.execute("update placements set ordered_wall_at = :at", at=ordered_at)
    await small.world.sweep()
    assert await small.state(workload_id) == "starting"
    await small.world.advance(timedelta(seconds=2))
    await small.world.sweep()
    shown = await _ended(small, workload_id, "failed", "0.00")
    assert shown["state_reason"] == "the node did not start it in time"


# --- lost nodes ----------------------------------------------------------------------------------------------------------


async def _lose(market: Market, agent: ScriptedAgent) -> None:
    """The node goes silent for longer than the setting allows, and a sweep notices."""
    agent.alive = False
    await market.world.advance(timedelta(seconds=91))
    await market.world.sweep()
    await market.world.drain()


async def test_a_lost_node(market: Market) -> None:
    """Resumed elsewhere from the newest checkpoint. Nobody saw it run after the last heartbeat, so nothing after it is billed."""
    workload_id, agent, order = await market.started()
    assert agent.name == "es"
    ok(await agent.checkpoint(order, 100))
    await market.world.advance(HOUR)
    ok(await agent.checkpoint(order, 200))
    await _lose(market, agent)
    await market.world.sweep()
    other, again = await market.placed(workload_id)
    assert other.name != "es" and again.epoch == 2
    assert again.resume is not None and again.resume.step == 200
    await other.run(again)
    await market.world.advance(HOUR)
    await other.exit(again, 0)
    shown = await _ended(market, workload_id, "completed", "4.80", restarts=1, moves=0)
    assert [one["end_reason"] for one in shown["placements"]] == ["lost", "done"]


async def test_a_lost_node_and_no_restart_left(small: Market) -> None:
    workload_id, agent, _ = await small.started(max_restarts=0)
    await small.world.advance(HOUR)
    await _lose(small, agent)
    shown = await _ended(small, workload_id, "failed", "2.40")
    assert shown["state_reason"] == "the node was lost"


async def test_a_node_lost_while_it_stops(small: Market) -> None:
    workload_id, agent, _ = await small.started()
    ok(await small.ask(workload_id, "cancel"))
    await small.world.drain()
    await _lose(small, agent)
    await _ended(small, workload_id, "cancelled", "0.00")


async def test_a_node_that_comes_back_in_time_keeps_its_work(small: Market) -> None:
    workload_id, agent, order = await small.started()
    agent.alive = False
    await small.world.advance(timedelta(seconds=89))
    await small.world.sweep()
    agent.alive = True
    await agent.beat()
    await small.world.advance(timedelta(seconds=60))
    await small.world.sweep()
    assert await small.state(workload_id) == "running"
    await agent.exit(order, 0)
    await _ended(small, workload_id, "completed", "0.099334", restarts=0)


# --- moves that do not happen --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit_code", "state", "restarts"), [(0, "completed", 0), (1, "waiting", 1)], ids=["done in time", "failed on the way out"]
)
async def test_a_move_is_voided(market: Market, exit_code: int, state: str, restarts: int) -> None:
    workload_id, source, order = await until_migrating(market)
    await source.exit(order, exit_code)
    await market.world.drain()
    shown = await market.show(workload_id)
    assert (shown["state"], shown["moves"], shown["restarts"]) == (state, 0, restarts)
    assert shown["placements"][1]["end_reason"] == "voided"
    assert await market.world.count("leases", "closed_at is null") == 0
    await check_market(market)


async def test_the_source_is_lost_during_a_move(market: Market) -> None:
    workload_id, source, order = await until_migrating(market)
    ok(await source.checkpoint(order, 650))
    await _lose(market, source)
    await market.world.sweep()
    other, again = await market.placed(workload_id)
    assert other.name != "es"
    assert (again.epoch, again.resume.step) == (3, 650)
    assert (await market.show(workload_id))["moves"] == 0
    await check_market(market)


async def test_the_target_is_lost_during_a_move(market: Market) -> None:
    """The checkpoint is safe: it goes on where a node is left, and counts neither as a move nor as a failure."""
    workload_id, source, order = await until_migrating(market)
    await _lose(market, market.world.agents["gb"])
    ok(await source.checkpoint(order, 650))
    await source.exit(order, 75)
    await market.world.drain()
    await market.world.sweep()
    _, again = await market.placed(workload_id)
    shown = await market.show(workload_id)
    assert (again.resume.step, shown["moves"], shown["restarts"]) == (650, 0, 0)
    assert shown["placements"][1]["end_reason"] == "voided"
    await check_market(market)


async def test_a_program_without_checkpoints_never_moves(market: Market) -> None:
    with pytest.raises(AssertionError, match="it never moves"):
        await until_migrating(market, checkpoint=None)
    await check_market(market)


# --- waiting -------------------------------------------------------------------------------------------------------------


async def test_a_freed_gpu_wakes_who_waits(small: Market) -> None:
    """By a hint, without any sweep."""
    first, agent, order = await small.started()
    second = await small.submit()
    await small.world.drain()
    shown = await small.show(second)
    assert (shown["state"], "gpus_busy 1" in shown["state_reason"]) == ("waiting", True)
    await agent.exit(order, 0)
    await small.world.drain()
    assert (await small.state(first), await small.state(second)) == ("completed", "starting")


async def test_a_new_node_wakes_who_waits(world: World) -> None:
    market = await Market.open(world)
    workload_id = await market.submit()
    await world.drain()
    await market.add_node("es", "ES")
    await world.drain()
    assert await market.state(workload_id) == "starting"


async def test_a_workload_may_be_routed_by_hand(world: World) -> None:
    market = await Market.open(world)
    workload_id = await market.submit()
    await world.drain()
    await world.execute("update workloads set due_at = clock_timestamp() + interval '1 hour'")
    ok(await market.ask(workload_id, "route"))
    assert await world.count("workloads", "due_at <= clock_timestamp()") == 1
    await market.add_node("es", "ES")
    await world.drain()
    assert await market.state(workload_id) == "starting"
    refused(await market.ask(workload_id, "route"), 409, "conflict")


async def test_the_same_reason_to_wait_is_told_once(world: World) -> None:
    market = await Market.open(world)
    workload_id = await market.submit()
    await world.drain()
    for _ in range(5):
        await world.sweep()
    assert [event["kind"] for event in await market.listed(workload_id, "events")].count("waiting") == 1
    assert await world.count("decisions") == 1


async def test_a_row_that_nobody_can_read_holds_up_no_other(small: Market) -> None:
    """It comes first in every sweep; the others are served all the same, and so is it once it is mended."""
    broken, whole = await small.submit(), await small.submit()
    [row] = await small.world.rows("select spec::text from workloads where id = :id", id=broken)
    await small.world.execute("update workloads set spec = '{}' where id = :id", id=broken)
    for _ in range(3):
        await small.world.sweep()
    [seen] = await small.world.rows("select state from workloads where id = :id", id=whole)
    assert seen["state"] == "starting"
    await small.world.execute("update workloads set spec = cast(:spec as jsonb) where id = :id", spec=row["spec"], id=broken)
    await small.world.sweep()
    assert await small.state(broken) == "waiting"
