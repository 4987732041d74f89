"""The same cases for the backend of real agents and its twin in memory."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import pytest

from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.identity import service as identity
from gridbroker.identity.role import OrganisationKind
from gridbroker.node_agent.protocol import Action, CheckpointFile, NodeRegistration, Order, Orders, ResumePoint
from gridbroker.providers import service
from gridbroker.providers.backends.agent import AgentBackend, read_orders
from gridbroker.providers.backends.base import Backend, NodeOrder
from gridbroker.providers.backends.fake import FakeBackend
from gridbroker.providers.lease import StaleEpoch

FIRST, SECOND = UUID(int=1), UUID(int=2)
RESUME = ResumePoint(checkpoint_id="c", step=7, files=(CheckpointFile(path="a/b", bytes=3, sha256="0" * 64),))


@dataclass(frozen=True)
class Bench:
    backend: Backend
    org_id: UUID
    node_id: UUID
    other_node_id: UUID
    read: Callable[[UUID], Awaitable[Orders]]

    async def apply(self, **changes: object) -> None:
        order = Order(
            placement_id=str(FIRST), epoch=1, action=Action.RUN, workload_id="w", attempt=1, command=("python", "-c", "1"),
            environment={"A": "ü\n"}, gpu_indices=(0,), load_hint=0.7,
        )  # fmt: skip
        wanted = NodeOrder(node_id=self.node_id, org_id=self.org_id, order=dataclasses.replace(order, **changes))
        await self.backend.apply(wanted)

    async def orders(self) -> Orders:
        return await self.read(self.node_id)


@pytest.fixture(params=["agent", "fake"])
def db(request: pytest.FixtureRequest) -> Database | None:
    """None for the backend that needs none."""
    return request.getfixturevalue("database") if request.param == "agent" else None


@pytest.fixture
async def bench(db: Database | None, clock: FakeClock) -> AsyncIterator[Bench]:
    if db is None:
        fake = FakeBackend()

        async def read_fake(node_id: UUID) -> Orders:
            return fake.orders_of(node_id)

        yield Bench(fake, clock.new_id(), clock.new_id(), clock.new_id(), read_fake)
        return

    async def read_real(node_id: UUID) -> Orders:
        async with db.as_system() as tx:
            return await read_orders(tx, node_id)

    org_id, nodes = await _two_nodes(db, clock)
    yield Bench(AgentBackend(db), org_id, *nodes, read_real)


async def _two_nodes(db: Database, clock: FakeClock) -> tuple[UUID, list[UUID]]:
    nodes: list[UUID] = []
    async with db.as_system() as tx:
        org_id = (await identity.create_organisation(tx, clock, name="Solar", kind=OrganisationKind.DATACENTER)).org_id
        for name in ("n1", "n2"):
            token, _ = await service.mint_token(tx, clock, org_id)
            given = NodeRegistration(token=token, name=name, zone="FR", gpu_model="T4", gpu_count=1, price_eur_per_gpu_hour="1.00")
            made = await service.register(tx, clock, given, known_zones=frozenset({"FR"}), list_prices={}, heartbeat_interval_s=1)
            nodes.append(UUID(made.node_id))
    return org_id, nodes


async def test_a_node_begins_without_orders(bench: Bench):
    assert await bench.orders() == Orders(version=0, orders=())


async def test_an_order_arrives_whole(bench: Bench):
    await bench.apply(resume=RESUME, grace_s=5, memory_limit_mib=100)
    [order] = (await bench.orders()).orders
    assert (order.resume, order.environment, order.grace_s, order.memory_limit_mib) == (RESUME, {"A": "ü\n"}, 5, 100)
    assert order.command == ("python", "-c", "1")


async def test_the_same_order_twice_is_one(bench: Bench):
    await bench.apply()
    once = await bench.orders()
    await bench.apply()
    assert await bench.orders() == once
    assert once.version == 1


async def test_a_new_action_replaces_the_old_one(bench: Bench):
    await bench.apply()
    await bench.apply(action=Action.CHECKPOINT_AND_STOP)
    orders = await bench.orders()
    assert (orders.version, [order.action for order in orders.orders]) == (2, [Action.CHECKPOINT_AND_STOP])


async def test_an_older_epoch_is_fenced_off(bench: Bench):
    await bench.apply(epoch=2, action=Action.KILL)
    before = await bench.orders()
    with pytest.raises(StaleEpoch):
        await bench.apply(epoch=1)
    assert await bench.orders() == before
    await bench.apply(epoch=3)
    assert [order.epoch for order in (await bench.orders()).orders] == [3]


async def test_forgotten_placements_leave_the_list_and_that_is_news(bench: Bench):
    await bench.apply()
    await bench.apply(placement_id=str(SECOND))
    await bench.backend.forget(FIRST)
    orders = await bench.orders()
    assert (orders.version, [order.placement_id for order in orders.orders]) == (3, [str(SECOND)])
    await bench.backend.forget(FIRST)
    assert await bench.orders() == orders, "forgetting twice is nothing new"


async def test_other_nodes_hear_nothing_of_it(bench: Bench):
    await bench.apply()
    assert await bench.read(bench.other_node_id) == Orders(version=0, orders=())
