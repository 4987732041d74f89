"""Worlds of the flow tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from tests.flow.support.world import Market, World

THREE = (("es", "ES"), ("gb", "GB"), ("de", "DE"))


@pytest.fixture
async def world(database: Database, clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    world = await World.open(database, clock, tmp_path)
    yield world
    await world.close()


@pytest.fixture
async def market(world: World) -> Market:
    """Nodes in Spain, Great Britain and Germany with one H100 each, and a customer with EUR 1000."""
    return await Market.open(world, nodes=THREE)


@pytest.fixture
async def small(world: World) -> Market:
    """One node with one GPU."""
    return await Market.open(world, nodes=THREE[:1])
