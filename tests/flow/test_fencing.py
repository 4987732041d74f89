"""A node that was cut off cannot overwrite what came after it, and no node can touch another's placement."""

import dataclasses
from datetime import timedelta
from typing import Any

import httpx

from gridbroker.node_agent.protocol import Order, Report, ReportKind
from tests.flow.support.agent import ScriptedAgent, commit_of, sha256_of
from tests.flow.support.checks import check_market
from tests.flow.support.runs import MovedRun, move_run
from tests.flow.support.world import Market, ok, refused

HOUR = timedelta(hours=1)
BYTES = b"weights from the other side"


async def _everything(agent: ScriptedAgent, order: Order) -> list[httpx.Response]:
    """Every call about a placement that an agent can make."""
    return [
        await agent.report(order, ReportKind.PROGRESS, step=999, total_steps=1000),
        await agent.report(order, ReportKind.EXITED, exit_code=0),
        await agent.log(order, "still here"),
        await agent.put_blob(order, BYTES),
        await agent.commit(order, commit_of(order, 999, {"model.pt": BYTES})),
        await agent.get_blob(order, sha256_of(BYTES)),
    ]


async def _traces(market: Market) -> dict[str, Any]:
    """What those calls would have changed."""
    rows = await market.world.rows("select state, step, total_steps from workloads")
    counts = {table: await market.world.count(table) for table in ("workload_logs", "checkpoints", "placements", "statements")}
    reported = await market.world.rows("select number, reported, reported_seq, exit_code from placements order by number")
    return {"workloads": rows, "counts": counts, "reported": reported}


async def _is_fenced(market: Market, agent: ScriptedAgent, order: Order) -> None:
    before = await _traces(market)
    for answer in await _everything(agent, order):
        refused(answer, 409, "stale_epoch")
    assert await _traces(market) == before
    folder = market.world.ports.settings.blob_dir
    assert not list(folder.glob(f"*/{sha256_of(BYTES)}*")), "no bytes were kept"


async def test_after_a_move(market: Market) -> None:
    run = await move_run(market)
    await run.target.run(run.resume_order)
    await market.world.drain()
    await _is_fenced(market, run.source, run.source_order)
    assert await run.source.orders() == {}
    await _goes_on(market, run)


async def _goes_on(market: Market, run: MovedRun) -> None:
    """The run goes on as if the old node had said nothing."""
    await market.world.advance(HOUR)
    await run.target.exit(run.resume_order, 0)
    await market.world.drain()
    assert await market.state(run.workload_id) == "completed"
    await check_market(market)


async def test_after_a_lost_node_came_back(market: Market) -> None:
    workload_id, agent, order = await market.started()
    ok(await agent.checkpoint(order, 100))
    agent.alive = False
    await market.world.advance(timedelta(seconds=91))
    await market.world.sweep()
    await market.world.drain()
    await market.world.sweep()
    other, again = await market.placed(workload_id)
    await other.run(again)
    await market.world.drain()

    agent.alive = True
    ok(await agent.beat())
    assert await agent.orders() == {}, "it is told to stop"
    await _is_fenced(market, agent, order)
    ok(await other.checkpoint(again, 50))
    await other.exit(again, 75)
    await market.world.drain()
    await market.world.sweep()
    _, third = await market.placed(workload_id)
    assert (third.epoch, third.resume.step) == (3, 50), "the newer placement's checkpoint counts, though its step is lower"


async def test_after_the_end(small: Market) -> None:
    _, agent, order = await small.started()
    await agent.exit(order, 0)
    await small.world.drain()
    await _is_fenced(small, agent, order)


async def test_another_epoch_than_the_lease(small: Market) -> None:
    """Whoever made it up: an open placement listens to its own epoch only."""
    _, agent, order = await small.started()
    before = await _traces(small)
    for epoch in (0, 2, 2**62, -1):
        forged = dataclasses.replace(order, epoch=epoch)
        refused(await agent.report(forged, ReportKind.EXITED, exit_code=0), 409, "stale_epoch")
        refused(await agent.log(forged, "text"), 409, "stale_epoch")
        refused(await agent.commit(forged, commit_of(forged, 1, {"a": b"b"})), 409, "stale_epoch")
    assert await _traces(small) == before


async def test_another_nodes_placement(market: Market) -> None:
    workload_id, agent, order = await market.started()
    stranger = market.world.agents["gb"]
    before = await _traces(market)
    for answer in await _everything(stranger, order):
        refused(answer, 404, "not_found")
    assert await _traces(market) == before
    assert (await stranger.client.head(f"/api/v1/nodes/self/placements/{order.placement_id}/blobs/{'0' * 64}")).status_code == 404
    assert await stranger.orders() == {}
    assert await market.state(workload_id) == "running"
    ok(await agent.log(order, "mine"))


async def test_people_cannot_speak_for_nodes(small: Market) -> None:
    _, _, order = await small.started()
    path = f"/api/v1/nodes/self/placements/{order.placement_id}"
    for person in (small.customer, small.providers["es"], small.admin):
        answer = await person.post(f"{path}/reports", json={"epoch": 1, "seq": 9, "kind": "exited", "at": "2026-03-20T12:00:00Z"})
        refused(answer, 403, "forbidden")
        refused(await person.get("/api/v1/nodes/self/orders"), 403, "forbidden")
        refused(await person.put(f"{path}/blobs/{sha256_of(BYTES)}", content=BYTES), 403, "forbidden")


async def test_reports_out_of_order_and_twice(small: Market) -> None:
    """What came first by its number stands; a late one is taken and ignored."""
    workload_id, agent, order = await small.started()
    for seq, step in ((7, 70), (6, 60)):
        at = small.world.clock.now().isoformat()
        progress = Report(epoch=1, seq=seq, kind=ReportKind.PROGRESS, at=at, step=step, total_steps=100)
        assert (await agent.send_report(order, progress)).status_code == 204
    assert (await small.show(workload_id))["progress"]["step"] == 70
    now = small.world.clock.now().isoformat()
    for seq, kind, code in ((9, "exited", 0), (8, "exited", 1), (9, "exited", 1), (3, "running", None), (10, "exited", 1)):
        assert (
            await agent.send_report(order, Report(epoch=1, seq=seq, kind=ReportKind(kind), at=now, exit_code=code))
        ).status_code == 204
    await agent.halt(order)
    await small.world.drain()
    assert await small.state(workload_id) == "completed"
    assert (await small.show(workload_id))["placements"][0]["exit_code"] == 0
