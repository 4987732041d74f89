"""What must hold after every tick of a living market, and what must have come of it in the end."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from gridbroker.broker.policy import DEFAULT_POLICY
from gridbroker.broker.workload import MAX_MOVES
from gridbroker.metering import service as metering
from gridbroker.settlement import service as settlement
from tests.flow.support.checks import check_proof
from tests.flow.support.world import Row, World
from tests.simulation.life import Life

_ENDED = "state in ('completed', 'failed', 'cancelled')"
_HELD_TWICE = """
select a.node_id, a.gpu_index, a.placement_id, b.placement_id as other from leases a
join leases b on b.node_id = a.node_id and b.gpu_index = a.gpu_index and b.id > a.id
where a.opened_at < coalesce(b.closed_at, 'infinity') and b.opened_at < coalesce(a.closed_at, 'infinity')
"""
_WRONGLY_LEASED = """
select p.id, p.state, p.gpu_indices, held.gpus from placements p
left join lateral (
  select coalesce(array_agg(l.gpu_index::int order by l.gpu_index), '{}') as gpus from leases l
  where l.placement_id = p.id and l.node_id = p.node_id and l.closed_at is null
) held on true
where held.gpus <> case when p.state = 'ended' then '{}'::int[] else p.gpu_indices end
"""
_LEASED_BY_NOBODY = "select l.id from leases l where not exists (select 1 from placements p where p.id = l.placement_id)"
_WRONGLY_ORDERED = """
select p.id, p.state from placements p left join orders o on o.placement_id = p.id
where (o.placement_id is null) <> (p.state in ('ended', 'reserved'))
"""
_RUNS_TWICE = f"""
select workload_id from placements where state not in ('ended', 'reserved') group by 1 having count(*) > 1
union all select workload_id from placements where state = 'reserved' group by 1 having count(*) > 1
union all select p.workload_id from placements p join workloads w on w.id = p.workload_id where p.state <> 'ended' and w.{_ENDED}
"""
_OUT_OF_BOUNDS = f"""
select id, state, spent_micro, hold_micro, moves, restarts from workloads
where spent_micro not between 0 and hold_micro or moves > {MAX_MOVES}
   or restarts > (spec ->> 'max_restarts')::int + 1 or ({_ENDED} and (due_at is not null or claim_token is not null))
"""
_NOT_ONCE = f"""
select w.id, w.state, w.spent_micro, made.* from workloads w, lateral (select
  (select count(*) from statements s where s.workload_id = w.id) as statements,
  (select count(*) from receipts r where r.workload_id = w.id) as receipts,
  (select count(*) from ledger_transfers t where t.reference = w.id and t.purpose = 'hold') as holds,
  (select count(*) from ledger_transfers t where t.reference = w.id and t.pending_id is not null) as resolutions,
  (select coalesce(sum(amount_micro), 0) from charges c where c.workload_id = w.id) as charged,
  (select coalesce(sum(amount_micro), 0) from payouts p where p.workload_id = w.id) as paid_out,
  (select coalesce(sum(amount_micro), 0) from ledger_transfers t where t.reference = w.id and t.purpose = 'fee') as fee
) made
where holds <> 1 or (statements, receipts, resolutions) is distinct from ({_ENDED}::int, {_ENDED}::int, {_ENDED}::int)
   or charged <> paid_out + fee or charged <> case when {_ENDED} then w.spent_micro else 0 end
"""
_STUCK_CLAIMS = " union all ".join(
    f"select '{table}' as held, id, claim_until from {table} where claim_until < clock_timestamp()"
    f" or claim_until > clock_timestamp() + interval '2 minutes' or (claim_until is null) <> (claim_token is null)"
    for table in ("workloads", "charges", "payouts", "receipt_trees")
)
_FORGOTTEN = f"select id, state, state_reason from workloads where due_at is null and not {_ENDED}"
_BALANCES = """
select (select coalesce(sum(credits_posted - debits_posted), 0) from ledger_accounts where not derived) as stored,
  (select coalesce(sum(case when t.credit = a.code then t.amount_micro else -t.amount_micro end), 0)
   from ledger_accounts a join ledger_transfers t on a.code in (t.debit, t.credit)
   where a.derived and t.kind in ('single', 'post')) as derived
"""
_PLACED = """
select p.id, p.zone, p.leased_at, w.spec,
  coalesce(d.body #> '{assessment,best,target,run}', d.body #> '{route,candidates,0,run}') as run
from placements p join workloads w on w.id = p.workload_id join decisions d on d.id = p.decision_id
"""


async def check_tick(life: Life, *, is_steady: bool) -> None:
    world = life.world
    for law, query in {
        "a GPU is leased twice": _HELD_TWICE,
        "a placement does not hold its GPUs, or holds them beyond its end": _WRONGLY_LEASED,
        "a lease of nobody": _LEASED_BY_NOBODY,
        "an order without a placement that is to run, or the other way round": _WRONGLY_ORDERED,
        "a workload has two places, or one after its end": _RUNS_TWICE,
        "spend, moves or restarts out of bounds, or an ended workload is still due": _OUT_OF_BOUNDS,
        "nobody will ever look at it again": _FORGOTTEN,
        "not exactly one statement, receipt and hold resolution, or the sums differ": _NOT_ONCE,
    }.items():
        await _none(world, law, query)
    if is_steady:
        await _none(world, "a claim outlives its end", _STUCK_CLAIMS)
    for placement in await world.rows(_PLACED):
        _check_promises(life, placement)
    async with world.ports.db.as_system(repeatable=True) as tx:
        assert list(await settlement.audit(tx)) == [], "the ledger is not sound"
    await _check_balances(world)
    await _check_energy(life, life.told_late)


async def check_end(life: Life) -> None:
    """After everything has ended: every workload is proven, paid for and paid out."""
    world, market = life.world, life.market
    await market.settle_all()
    await check_tick(life, is_steady=True)
    await _check_energy(life, life.settled_before)
    await _none(world, "money is still held", "select * from ledger_accounts where code like 'wallet:%' and debits_pending <> 0")
    for row in await world.rows("select id, spent_micro from workloads order by id"):
        statement = await check_proof(market, row["id"])
        assert statement["cost_micro"] == row["spent_micro"]
    rails: Any = world.ports
    assert len(rails.payout_rail.effects) == await world.count("payouts", "state = 'paid'"), "a payout was sent twice"
    assert len(rails.card_rail.effects) == 1


async def _none(world: World, law: str, query: str) -> None:
    found = await world.rows(query)
    assert not found, f"{law}: {found}"


def _check_promises(life: Life, placement: Row) -> None:
    """What the grid really was in the hour in which the place was chosen; nothing is known of later hours then."""
    spec, run = placement["spec"], placement["run"]
    intensity = life.weather.intensity(placement["zone"], placement["leased_at"])
    if spec["green_only"]:
        assert intensity <= DEFAULT_POLICY.green.max_intensity_g_per_kwh, f"placed where it was not green: {placement}"
    cap = spec["max_intensity_g_per_kwh"]
    assert cap is None or run["mean_intensity_g_per_kwh"] <= cap, f"placed above its cap: {placement}"


async def _check_balances(world: World) -> None:
    """What customers and providers hold, as stored, against the platform's accounts, as the transfers have it."""
    [row] = await world.rows(_BALANCES)
    assert row["stored"] + row["derived"] == 0, f"the balances do not sum to zero: {row}"


async def _check_energy(life: Life, late: set[UUID]) -> None:
    """What placements were billed for and what nobody used is what was measured, to the millijoule.

    Only samples that came after a lost placement's (`late`) books were closed stay over, and never to its customer's cost.
    """
    now = life.clock.now()
    async with life.world.ports.db.as_system() as tx:
        for agent in life.world.agents.values():
            for index in range(agent.gpu_count):
                account = await metering.gpu_account(tx, UUID(agent.node_id), index, now - timedelta(days=3), now)
                adds_up = account.difference_mj == 0 or (account.difference_mj > 0 and late & set(account.attributed_mj))
                assert adds_up, f"{agent.name} GPU {index}: {account.difference_mj} mJ over in {account}"
