"""Agents that wait are woken by the commit of their orders, without holding anything of the database meanwhile."""

import asyncio
import time
from uuid import UUID, uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from gridbroker.node_agent.protocol import Action, Order
from gridbroker.providers.backends.agent import AgentBackend, apply_in
from gridbroker.providers.backends.base import NodeOrder
from gridbroker.providers.backends.bell import OrdersBell

LONG_S = 20.0
SOON_S = 5.0
"""Far below LONG_S: whoever returns within it was woken."""


def order_for(node_id: UUID, org_id: UUID, epoch: int = 1) -> NodeOrder:
    order = Order(placement_id=str(uuid4()), epoch=epoch, action=Action.RUN, workload_id="w", attempt=1, command=("true",))
    return NodeOrder(node_id=node_id, org_id=org_id, order=order)


async def listening(bell: OrdersBell) -> None:
    async with asyncio.timeout(SOON_S):
        while not bell.is_listening:  # noqa: ASYNC110  (another process answers: there is no event to wait for)
            await asyncio.sleep(0.01)


@pytest.fixture
async def live_bell(postgres, database_name, database):
    bell = OrdersBell(retry_s=0.05)
    await bell.start(postgres.database_urls(database_name).system)
    await listening(bell)
    yield bell
    await bell.stop()


async def test_an_order_wakes_its_node_and_no_other(world, live_bell):
    org_id = await world.organisation()
    node_id, other_id = await world.node(org_id), await world.node(org_id, name="n2")
    other = asyncio.create_task(live_bell.wait(other_id, 0.5))
    waiting = asyncio.create_task(live_bell.wait(node_id, LONG_S))
    await asyncio.sleep(0)
    started = time.monotonic()
    await AgentBackend(world.db).apply(order_for(node_id, org_id))
    assert await waiting is True
    assert time.monotonic() - started < SOON_S
    assert await other is False


async def test_nobody_is_woken_before_the_commit(world, live_bell):
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    with live_bell.subscribe(node_id) as ring:
        async with world.db.as_system() as tx:
            await apply_in(tx, order_for(node_id, org_id))
            assert await ring.wait(asyncio.get_running_loop().time() + 0.2) is False
        assert await ring.wait(asyncio.get_running_loop().time() + LONG_S) is True


async def test_a_ring_between_subscribing_and_waiting_is_heard(world, live_bell):
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    with live_bell.subscribe(node_id) as ring:
        await AgentBackend(world.db).apply(order_for(node_id, org_id))
        assert await ring.wait(asyncio.get_running_loop().time() + LONG_S) is True


async def test_thousands_wait_on_one_connection(world, live_bell):
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    waiting = [asyncio.create_task(live_bell.wait(node_id, LONG_S)) for _ in range(3000)]
    await asyncio.sleep(0)
    async with world.db.as_system() as tx:
        connections = await tx.scalar(
            sa.text("select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'")
        )
    assert connections <= 1 + 8 + 8, "the bell's and the pools'"
    await AgentBackend(world.db).apply(order_for(node_id, org_id))
    async with asyncio.timeout(SOON_S):
        assert all(await asyncio.gather(*waiting))


async def test_a_broken_connection_wakes_everybody_and_is_replaced(world, live_bell, postgres):
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    waiting = asyncio.create_task(live_bell.wait(node_id, LONG_S))
    await asyncio.sleep(0)
    admin = await asyncpg.connect(postgres.admin_url)
    try:
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gridbroker-bell'")
    finally:
        await admin.close()
    async with asyncio.timeout(SOON_S):
        assert await waiting is True, "it looks for itself, for a ring may have been lost"
    await listening(live_bell)
    again = asyncio.create_task(live_bell.wait(node_id, LONG_S))
    await asyncio.sleep(0)
    await AgentBackend(world.db).apply(order_for(node_id, org_id))
    async with asyncio.timeout(SOON_S):
        assert await again is True


async def test_without_a_connection_waiters_look_by_themselves():
    bell = OrdersBell(poll_s=0.01)
    assert await bell.wait(uuid4(), LONG_S) is True


async def test_a_database_that_is_away_stops_nobody():
    bell = OrdersBell(poll_s=0.01, retry_s=0.01)
    await bell.start("postgresql://nobody@127.0.0.1:1/none")
    assert await bell.wait(uuid4(), LONG_S) is True
    assert not bell.is_listening
    await bell.stop()


async def test_stopping_sends_waiters_home():
    bell = OrdersBell(poll_s=LONG_S)
    waiting = asyncio.create_task(bell.wait(uuid4(), LONG_S))
    await asyncio.sleep(0)
    await bell.stop()
    async with asyncio.timeout(SOON_S):
        assert await waiting is False
