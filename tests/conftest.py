"""Fixtures on real servers: one embedded PostgreSQL per test run, one fresh database per test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from gridbroker.app import migrate
from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database, connect

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
TEMPLATE = "gridbroker"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    folder: Path = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres.start(folder, fsync=False)
    try:
        migrate.upgrade(server.owner_url)
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_name(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A migrated, empty database of its own, dropped afterwards."""
    name = f"test_{uuid4().hex[:12]}"
    asyncio.run(_administer(postgres, f'create database "{name}" template "{TEMPLATE}" strategy wal_log owner gridbroker_owner'))
    yield name
    asyncio.run(_administer(postgres, f'drop database "{name}" with (force)'))


@pytest.fixture
async def database(postgres: EmbeddedPostgres, database_name: str) -> AsyncIterator[Database]:
    urls = postgres.database_urls(database_name)
    db = connect(urls.app, urls.system, None, pool_size=8)
    try:
        yield db
    finally:
        await db.close()


async def _administer(postgres: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(postgres.admin_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
