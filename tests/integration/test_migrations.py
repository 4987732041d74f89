"""Migrations: from nothing to the tables that the code expects and back, once, twice, and by two at the same time."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from gridbroker.app import migrate
from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.app.migrate import SchemaTooNew
from gridbroker.app.tables import metadata

OBJECTS = (
    "select relname || ':' || relkind::text from pg_class where relnamespace = 'public'::regnamespace"
    " and relname not like 'alembic_version%' union all "
    "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'public'::regnamespace"
    " and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')"
    " union all select polname::text from pg_policy order by 1"
)


@pytest.fixture
async def empty(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The owner's URL of a database without tables, dropped afterwards."""
    name = f"empty_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres.admin_url)
    await admin.execute(f'create database "{name}" owner gridbroker_owner')
    yield postgres.database_urls(name).owner
    await admin.execute(f'drop database "{name}" with (force)')
    await admin.close()


async def query(url: str, statement: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def upgrade(url: str) -> str:
    return await asyncio.to_thread(migrate.upgrade, url)


async def downgrade(url: str, to: str = "base") -> None:
    def down(connection: sa.Connection) -> None:
        command.downgrade(migrate._config(connection), to)

    await migrate._with_connection(url, down)


def revisions() -> list[str]:
    folder = ScriptDirectory(str(migrate.resources.files("gridbroker") / "migrations"))
    return [item.revision for item in folder.walk_revisions()][::-1]


def test_the_history_is_one_line():
    folder = ScriptDirectory(str(migrate.resources.files("gridbroker") / "migrations"))
    assert len(folder.get_heads()) == len(folder.get_bases()) == 1
    assert revisions() == [f"{number:04d}" for number in range(1, len(revisions()) + 1)]


async def test_from_nothing_to_what_the_code_expects_and_again(empty):
    assert await asyncio.to_thread(migrate.revision, empty) is None
    assert await upgrade(empty) == revisions()[-1] == await asyncio.to_thread(migrate.revision, empty)
    assert await asyncio.to_thread(migrate.differences, empty) == []
    before = await query(empty, OBJECTS)
    assert {f"{name}:r" for name in metadata.tables} <= set(before)
    assert await upgrade(empty) == revisions()[-1]
    assert await query(empty, OBJECTS) == before


async def test_a_difference_would_be_told(empty):
    await upgrade(empty)
    await query(empty, "alter table workloads drop column moves")
    await query(empty, "create table stray (id int)")
    told = "\n".join(await asyncio.to_thread(migrate.differences, empty))
    assert "moves" in told and "stray" in told


async def test_all_the_way_down_leaves_nothing_and_up_again_everything(empty):
    await upgrade(empty)
    before = await query(empty, OBJECTS)
    await downgrade(empty)
    assert await query(empty, OBJECTS) == []
    await upgrade(empty)
    assert await query(empty, OBJECTS) == before
    assert await asyncio.to_thread(migrate.differences, empty) == []


async def test_every_single_step_goes_down_and_up(empty):
    await upgrade(empty)
    for revision in reversed(revisions()[:-1]):
        await downgrade(empty, revision)
        assert await asyncio.to_thread(migrate.revision, empty) == revision
    await upgrade(empty)
    assert await asyncio.to_thread(migrate.differences, empty) == []


async def test_a_database_of_a_newer_version_is_left_alone(empty):
    await upgrade(empty)
    await query(empty, "update alembic_version set version_num = '9999'")
    before = await query(empty, OBJECTS)
    with pytest.raises(SchemaTooNew, match="9999"):
        await upgrade(empty)
    assert await query(empty, OBJECTS) == before
    assert await query(empty, "select version_num from alembic_version") == ["9999"]


async def test_two_at_once_migrate_one_after_the_other(empty):
    done = await asyncio.gather(*[migrate.upgrade_async(empty) for _ in range(3)])
    assert done == [revisions()[-1]] * 3
    assert await asyncio.to_thread(migrate.differences, empty) == []


async def test_a_step_that_fails_leaves_nothing_behind_and_says_why(empty):
    await query(empty, "create table workloads (id int)")
    with pytest.raises(sa.exc.ProgrammingError, match="workloads"):
        await upgrade(empty)
    assert await query(empty, "select relname from pg_class where relname in ('organisations', 'api_keys', 'nodes')") == []
    await query(empty, "drop table workloads")
    assert await upgrade(empty) == revisions()[-1]
