"""No GPU is ever leased twice, and every past view of the fleet can be rebuilt."""

import asyncio

import pytest
import sqlalchemy as sa

from gridbroker.core.versioned import current_snapshot
from gridbroker.providers import service
from gridbroker.providers.lease import LeaseConflict
from gridbroker.providers.models import leases


async def free(world, node_id) -> tuple[int, ...]:
    async with world.db.as_system() as tx:
        return (await service.get_node(tx, node_id)).free_gpus


async def test_leases_take_and_free_gpus(world):
    org_id = await world.organisation()
    node_id = await world.node(org_id, gpu_count=4)
    placement_id = await world.lease(node_id, org_id, 2, 0)
    assert await free(world, node_id) == (1, 3)
    async with world.db.as_system() as tx:
        assert await service.close_leases(tx, placement_id, world.clock.now()) == 2
        assert await service.close_leases(tx, placement_id, world.clock.now()) == 0
    assert await free(world, node_id) == (0, 1, 2, 3)
    await world.lease(node_id, org_id, 0)


async def test_many_want_one_gpu_and_one_gets_it(world):
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    outcomes = await asyncio.gather(*(world.lease(node_id, org_id, 0) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, LeaseConflict) for outcome in outcomes) == 7
    assert await free(world, node_id) == (1,)


async def test_overlapping_sets_in_any_order_end_without_deadlock(world):
    org_id = await world.organisation()
    node_id = await world.node(org_id, gpu_count=4)
    wanted = [(0, 1, 2, 3), (3, 2), (2, 1, 0), (1, 3), (3, 1), (0, 3)]
    outcomes = await asyncio.gather(*(world.lease(node_id, org_id, *indices) for indices in wanted), return_exceptions=True)
    assert all(isinstance(outcome, LeaseConflict) for outcome in outcomes if isinstance(outcome, BaseException)), outcomes
    assert any(not isinstance(outcome, BaseException) for outcome in outcomes)


async def test_a_conflict_takes_nothing_and_leaves_the_transaction_usable(world):
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    await world.lease(node_id, org_id, 1)
    values = {"node_id": node_id, "org_id": org_id, "epoch": 1, "now": world.clock.now()}
    new_id = world.clock.new_id
    async with world.db.as_system() as tx:
        with pytest.raises(LeaseConflict):
            await service.open_lease(tx, lease_ids=[new_id(), new_id()], gpu_indices=(0, 1), placement_id=new_id(), **values)
        await service.open_lease(tx, lease_ids=[new_id()], gpu_indices=(0,), placement_id=new_id(), **values)
    async with world.db.as_system() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(leases)) == 2


async def test_opening_the_same_leases_again_is_harmless(world):
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    ids, placement_id = [world.clock.new_id(), world.clock.new_id()], world.clock.new_id()
    for _ in range(2):
        async with world.db.as_system() as tx:
            await service.open_lease(
                tx, lease_ids=ids, node_id=node_id, org_id=org_id, gpu_indices=(0, 1), placement_id=placement_id,
                epoch=1, now=world.clock.now(),
            )  # fmt: skip
    assert await free(world, node_id) == ()


async def test_a_past_view_is_rebuilt_after_everything_changed(world):
    org_id = await world.organisation()
    first, second = await world.node(org_id, gpu_count=4), await world.node(org_id, name="n2")
    await world.heartbeat(first, gpu_count=4)
    placement_id = await world.lease(first, org_id, 0, 1)
    async with world.db.as_system(repeatable=True) as tx:
        text = await current_snapshot(tx)
        then = await service.snapshot(tx)
    assert {node.node_id: node.free_gpus for node in then} == {first: (2, 3), second: (0, 1)}

    async with world.db.as_system() as tx:
        await service.close_leases(tx, placement_id, world.clock.now())
    await world.lease(first, org_id, 3)
    await world.node(org_id, gpu_count=2, name="n2", price_eur_per_gpu_hour="9.00")
    await world.node(org_id, name="n3")
    await world.heartbeat(second)
    async with world.db.as_system() as tx:
        await service.set_draining(tx, world.clock, first, draining=True, lost_after_s=90)

    async with world.db.as_system() as tx:
        assert await service.snapshot(tx, text) == then
        now = await service.snapshot(tx)
        assert len(now) == 3
        assert await service.snapshot(tx, await current_snapshot(tx)) == now, "both queries agree on the present"


async def test_a_view_does_not_see_what_was_not_committed_when_it_was_taken(world):
    """Rows with lower ids that commit later stay out of it: the reason why snapshots are kept and not numbers."""
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    values = {"node_id": node_id, "org_id": org_id, "epoch": 1, "now": world.clock.now()}
    new_id = world.clock.new_id
    async with world.db.as_system() as slow:
        await service.open_lease(slow, lease_ids=[new_id()], gpu_indices=(0,), placement_id=new_id(), **values)
        await world.lease(node_id, org_id, 1)
        async with world.db.as_system(repeatable=True) as tx:
            text, then = await current_snapshot(tx), await service.snapshot(tx)
    assert [node.free_gpus for node in then] == [(0,)]
    async with world.db.as_system() as tx:
        assert [node.free_gpus for node in await service.snapshot(tx)] == [()]
        assert await service.snapshot(tx, text) == then


async def test_the_database_itself_refuses_a_second_lease(world):
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    await world.lease(node_id, org_id, 0)
    with pytest.raises(sa.exc.IntegrityError, match="ux_leases_open"):
        async with world.db.as_system() as tx:
            await tx.execute(
                leases.insert().values(
                    id=world.clock.new_id(),
                    org_id=org_id,
                    node_id=node_id,
                    gpu_index=0,
                    placement_id=world.clock.new_id(),
                    epoch=9,
                    opened_at=world.clock.now(),
                )
            )
