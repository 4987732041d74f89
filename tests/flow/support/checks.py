"""What must hold however a run went, and the picture of an end state that two runs are compared by."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from gridbroker.metering import service as metering
from gridbroker.settlement import service as settlement
from gridbroker.settlement.verify import verify
from tests.flow.support.world import ENDED, Market, World, ok

_HOLDS = "select coalesce(sum(hold_micro), 0) as held from workloads where state not in ('completed', 'failed', 'cancelled')"
_ONCE = ("statements", "receipts")


async def check_market(market: Market) -> None:
    """The invariants. Holds at any moment, not only at the end."""
    world = market.world
    async with world.ports.db.as_system(repeatable=True) as tx:
        assert list(await settlement.audit(tx)) == []
    await _check_wallet(market)
    await _check_leases(world)
    await _check_energy(world)
    await _check_intake(world)
    for workload in await world.rows("select * from workloads"):
        ended = workload["state"] in ENDED
        for table in _ONCE:
            assert await world.count(table, "workload_id = :id", id=workload["id"]) == int(ended), f"{table} of {workload['state']}"
        assert await world.count("charges", "workload_id = :id", id=workload["id"]) <= int(ended)
        assert 0 <= workload["spent_micro"] <= workload["hold_micro"]
        assert workload["moves"] <= 5
        if ended:
            assert workload["due_at"] is None and workload["claim_token"] is None
            assert await world.count("placements", "workload_id = :id and state <> 'ended'", id=workload["id"]) == 0


async def _check_wallet(market: Market) -> None:
    wallet = ok(await market.customer.get("/api/v1/wallet"))
    [held] = await market.world.rows(_HOLDS)
    assert wallet["held"] == _euros(int(held["held"])), "exactly the unfinished workloads hold money"


async def _check_leases(world: World) -> None:
    """Open placements hold their GPUs and have their orders, others neither."""
    orphans = "select l.id from leases l left join placements p on p.id = l.placement_id"
    assert await world.rows(f"{orphans} where l.closed_at is null and coalesce(p.state, 'ended') = 'ended'") == []
    bare = "select p.id from placements p where p.state <> 'ended' and not exists"
    assert await world.rows(f"{bare} (select 1 from leases l where l.placement_id = p.id and l.closed_at is null)") == []
    ordered = "select p.id from placements p join orders o on o.placement_id = p.id"
    assert await world.rows(f"{ordered} where p.state in ('ended', 'reserved')") == []


async def _check_energy(world: World) -> None:
    """What subjects were given plus what nobody used is what was measured, to the millijoule."""
    now = world.clock.now()
    async with world.ports.db.as_system() as tx:
        for agent in world.agents.values():
            for index in range(agent.gpu_count):
                account = await metering.gpu_account(tx, UUID(agent.node_id), index, now - timedelta(days=2), now)
                assert account.difference_mj == 0, agent.name


async def _check_intake(world: World) -> None:
    """Samples are kept once however often they came, and what the grid told is known once."""
    sent = {agent.node_id: agent.samples_sent for agent in world.agents.values()}
    kept = await world.rows("select node_id, count(*) as n from samples group by node_id")
    assert {str(row["node_id"]): row["n"] for row in kept} == sent
    assert await world.count("grid_signals") == await world.count("(select distinct zone, kind, at from grid_signals) as known")


async def check_proof(market: Market, workload_id: UUID) -> dict[str, Any]:
    """Fetch the statement and the receipt as a customer would, and verify offline. Returns the statement."""
    client = market.customer
    statement = ok(await client.get(f"/api/v1/statements/{workload_id}"))
    [receipt] = ok(await client.get("/api/v1/receipts", params={"workload_id": str(workload_id)}))["data"]
    document = (await client.get(f"/api/v1/receipts/{receipt['id']}")).content
    proof = ok(await client.get(f"/api/v1/receipts/{receipt['id']}/proof"))
    key = ok(await market.world.client().get("/.well-known/did.json"))["alsoKnownAs"][0]
    found = verify(document, proof=proof, expected_key=key)
    assert found.ok, [check for check in found.checks if not check.ok]
    assert {"key", "inclusion", "signature", "cost"} <= {check.name for check in found.checks}
    return statement


async def picture(world: World) -> dict[str, Any]:
    """The end state of a world with one workload, without ids and wall times: equal for equal histories."""
    [workload] = await world.rows("select state, moves, restarts, step, spent_micro, energy_mj from workloads")
    placements = await world.rows(
        "select node_name, state, end_reason, started_at, ended_at, exit_code from placements order by number"
    )
    events = await world.rows("select kind, count(*) as n from workload_events group by kind")
    transfers = await world.rows("select purpose, amount_micro from ledger_transfers order by purpose, amount_micro")
    return {
        "rows": {table: await world.count(table) for table in MOVED_ONCE["rows"]},
        "workload": tuple(workload.values()),
        "placements": [(*row.values(),) for row in placements],
        "events": {row["kind"]: row["n"] for row in events},
        "transfers": [(row["purpose"], row["amount_micro"]) for row in transfers],
        "payouts": [(*row.values(),) for row in await world.rows("select state, amount_micro from payouts order by 2")],
    }


_START = datetime(2026, 3, 20, 12, tzinfo=UTC)
_MOVED = datetime(2026, 3, 20, 19, tzinfo=UTC)
_END = datetime(2026, 3, 20, 23, tzinfo=UTC)
MOVED_ONCE: dict[str, Any] = {
    "rows": {
        "workloads": 1, "quotes": 1, "decisions": 3, "placements": 2, "leases": 2, "orders": 0, "checkpoints": 1,
        "workload_logs": 2, "meter_events": 11, "statements": 1, "charges": 2, "payouts": 2, "receipts": 1, "receipt_trees": 1,
    },
    "workload": ("completed", 1, 0, 1200, 26_400_000, 19_800_000_000),
    "placements": [
        ("es", "ended", "checkpointed", _START, _MOVED, 75),
        ("gb", "ended", "done", _MOVED, _END, 0),
    ],
    "events": {"submitted": 1, "placed": 1, "running": 2, "moving": 1, "moved": 1, "placement_ended": 1, "settled": 1},
    "transfers": [
        ("capture", 26_400_000),
        ("fee", 3_960_000),
        ("hold", 50_000_000),
        ("payout", 8_160_000),
        ("payout", 14_280_000),
        ("payout_confirmed", 8_160_000),
        ("payout_confirmed", 14_280_000),
        ("share", 8_160_000),
        ("share", 14_280_000),
        ("top_up", 1_000_000_000),
    ],
    "payouts": [("paid", 8_160_000), ("paid", 14_280_000)],
}  # fmt: skip
"""What `runs.move_run` and `runs.finish` leave behind: eleven hours at EUR 2.40 and 500 W, seven in Spain and four in Britain; the
platform keeps 15 %."""


def _euros(amount_micro: int) -> str:
    whole, rest = divmod(amount_micro, 1_000_000)
    return f"{whole}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"
