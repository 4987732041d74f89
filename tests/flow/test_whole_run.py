"""From submit to a verified receipt, over HTTP, with and without a move."""

from datetime import timedelta
from uuid import UUID

import pytest

from gridbroker.core.money import parse_micro
from gridbroker.node_agent.protocol import Action
from tests.flow.support.checks import check_market, check_proof
from tests.flow.support.runs import finish, move_run
from tests.flow.support.world import Market, ok


async def test_from_submit_to_a_verified_receipt(market: Market) -> None:
    workload_id, agent, order = await market.started()
    assert (order.action, order.epoch, order.command, order.resume) == (Action.RUN, 1, ("train",), None)
    assert ok(await market.customer.get("/api/v1/wallet"))["held"] == "50.00"
    ok(await agent.log(order, "step 1", "step 2"))
    await market.world.advance(timedelta(hours=2))
    await agent.exit(order, 0)
    await market.world.drain()
    assert await market.state(workload_id) == "completed"
    await market.settle_all()

    shown = await market.show(workload_id)
    assert (shown["cost_eur"], shown["moves"], shown["restarts"]) == ("4.80", 0, 0)
    statement = await check_proof(market, workload_id)
    assert statement["energy_mj"] == agent.used_mj[order.placement_id] == 2 * 3600 * 500_000
    assert (statement["energy_kind"], statement["outcome"]) == ("measured", "completed")
    assert ok(await market.customer.get("/api/v1/wallet")) == {
        "available": "995.20", "held": "0.00", "posted": "995.20", "currency": "EUR",
    }  # fmt: skip
    [charge] = ok(await market.customer.get("/api/v1/charges", params={"workload_id": str(workload_id)}))["data"]
    assert (charge["state"], charge["amount"]) == ("paid", "4.80")
    [payout] = ok(await market.providers[agent.name].get("/api/v1/payouts"))["data"]
    assert (payout["state"], payout["amount"]) == ("paid", "4.08")
    log = ok(await market.customer.get(f"/api/v1/workloads/{workload_id}/logs"))
    assert ([line["text"] for line in log["data"]], log["ended"]) == (["step 1", "step 2"], True)
    await check_market(market)


async def test_it_moves_when_the_evening_comes(market: Market) -> None:
    run = await move_run(market)
    assert (run.source.name, run.target.name) == ("es", "gb")
    assert run.leases_during_move == 2, "the target is leased before the source is let go"
    assert run.resume_order.resume is not None
    assert (run.resume_order.epoch, run.resume_order.resume.step) == (2, run.step)
    [file] = run.resume_order.resume.files
    assert (await run.target.get_blob(run.resume_order, file.sha256)).content == run.checkpoint
    await finish(market, run)

    shown = await market.show(run.workload_id)
    assert (shown["state"], shown["moves"], shown["restarts"]) == ("completed", 1, 0)
    assert [(one["node_name"], one["end_reason"]) for one in shown["placements"]] == [("es", "checkpointed"), ("gb", "done")]
    statement = await check_proof(market, run.workload_id)
    used = {
        placement["id"]: market.world.agents[placement["node_name"]].used_mj[placement["id"]] for placement in shown["placements"]
    }
    assert {usage["placement_id"]: usage["energy_mj"] for usage in statement["usages"]} == used
    assert statement["energy_mj"] == sum(used.values())
    assert parse_micro(shown["cost_eur"]) == sum(usage["cost_micro"] for usage in statement["usages"])
    await check_market(market)


async def test_every_decision_can_be_made_again(market: Market) -> None:
    run = await move_run(market)
    await finish(market, run)
    decisions = await market.listed(run.workload_id, "decisions")
    assert {(one["kind"], one["outcome"]) for one in decisions} >= {("route", "placed"), ("review", "move")}
    for decision in decisions:
        again = ok(await market.customer.get(f"/api/v1/decisions/{decision['id']}/rebuilt"))
        assert again == decision["body"]["route"]


async def test_the_receipt_is_refused_when_a_figure_is_changed(market: Market) -> None:
    workload_id, agent, order = await market.started()
    await market.world.advance(timedelta(hours=1))
    await agent.exit(order, 0)
    await market.world.drain()
    await market.settle_all()
    await market.world.execute(
        "update receipts set document = convert_to(replace(convert_from(document, 'UTF8'), '2.40', '2.30'), 'UTF8')"
    )
    with pytest.raises(AssertionError, match="signature"):
        await check_proof(market, workload_id)


async def test_another_organisation_sees_nothing(market: Market) -> None:
    workload_id, *_ = await market.started()
    stranger = market.providers["gb"]
    assert (await stranger.get(f"/api/v1/workloads/{workload_id}")).status_code == 403
    made = ok(await market.admin.post("/api/v1/organisations", json={"name": "Rival", "kind": "developer"}))
    key = ok(await market.admin.post("/api/v1/keys", json={"name": "k", "role": "developer", "org_id": made["id"]}))["secret"]
    rival = market.world.client(key)
    for path in ("", "/events", "/decisions", "/placements", "/logs"):
        assert (await rival.get(f"/api/v1/workloads/{workload_id}{path}")).status_code == 404
    assert (await rival.post(f"/api/v1/workloads/{workload_id}/cancel")).status_code == 404
    assert UUID(str(workload_id)) and await market.state(workload_id) == "running"
