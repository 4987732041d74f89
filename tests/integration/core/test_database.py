"""The two ways to open a transaction: what they bind, and that they end as they say."""

from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.core.db import APP_ROLE, ORG_SETTING, SYSTEM_ROLE, async_url, connect, driver_connection

SEES = "insert into grid_signals (id, zone, kind, at, value, source, quality, averaging, scope, revision, recorded_at) values"
ROW = "(gen_random_uuid(), 'FR', 'price', now(), 1, 's', 'q', 'a', 's', 1, now())"


async def who(tx) -> tuple[str, str | None, str]:
    query = f"select current_user::text, current_setting('{ORG_SETTING}', true), current_setting('timezone')"
    return tuple((await tx.execute(sa.text(query))).one())


async def test_each_opens_as_its_role_in_utc(database):
    org_id = uuid4()
    async with database.as_org(org_id) as tx:
        assert await who(tx) == (APP_ROLE, str(org_id), "UTC")
    async with database.as_system() as tx:
        role, setting, zone = await who(tx)
        assert (role, zone) == (SYSTEM_ROLE, "UTC") and setting in (None, "")


async def test_blocks_commit_when_they_end_and_roll_back_when_they_raise(database):
    async def count() -> int:
        async with database.as_system() as tx:
            return await tx.scalar(sa.text("select count(*) from grid_signals"))

    async with database.as_system() as tx:
        await tx.execute(sa.text(f"{SEES} {ROW}"))
    assert await count() == 1
    with pytest.raises(RuntimeError):
        async with database.as_system() as tx:
            await tx.execute(sa.text(f"{SEES} (gen_random_uuid(), 'DE', 'price', now(), 1, 's', 'q', 'a', 's', 1, now())"))
            raise RuntimeError
    assert await count() == 1


async def test_a_repeatable_transaction_sees_one_moment(database):
    async with database.as_system(repeatable=True) as tx:
        before = await tx.scalar(sa.text("select count(*) from grid_signals"))
        async with database.as_system() as other:
            await other.execute(sa.text(f"{SEES} {ROW}"))
        assert await tx.scalar(sa.text("select count(*) from grid_signals")) == before


async def test_one_url_of_a_member_of_both_roles_is_enough(postgres: EmbeddedPostgres, database_name):
    """As on a managed server: one login, which becomes the one role or the other."""
    login, admin = f"login_{uuid4().hex[:8]}", await asyncpg.connect(postgres.admin_url)
    await admin.execute(f"create role {login} login password 'only-here'")
    await admin.execute(f"grant {APP_ROLE}, {SYSTEM_ROLE} to {login}")
    place = urlsplit(postgres.database_urls(database_name).owner)
    db = connect(None, None, place._replace(netloc=f"{login}:only-here@{place.hostname}:{place.port}").geturl(), pool_size=1)
    try:
        async with db.as_org(uuid4()) as tx:
            assert (await who(tx))[0] == APP_ROLE
        async with db.as_system() as tx:
            assert (await who(tx))[0] == SYSTEM_ROLE
    finally:
        await db.close()
        await admin.execute(f"drop role {login}")
        await admin.close()


async def test_errors_do_not_show_what_was_sent(database):
    with pytest.raises(sa.exc.DBAPIError) as raised:
        async with database.as_system() as tx:
            await tx.execute(sa.text("select cast(:value as uuid), cast(:secret as text)"), {"value": uuid4(), "secret": 7})
    assert "parameters hidden" in str(raised.value)


async def test_the_driver_is_there_for_copy(database):
    async with database.as_system() as tx:
        assert await (await driver_connection(tx)).fetchval("select 1") == 1


@pytest.mark.parametrize("url", ["postgres://h/d", "postgresql://h/d", "postgresql+psycopg://h/d"])
def test_urls_are_led_to_the_driver(url):
    assert async_url(url) == "postgresql+asyncpg://h/d"


@pytest.mark.parametrize("url", ["mysql://h/d", "h/d", "", "://h"])
def test_other_databases_are_refused(url):
    with pytest.raises(ValueError, match="postgresql"):
        async_url(url)


def test_without_any_url_there_is_nothing_to_connect_to():
    with pytest.raises(ValueError, match="GRIDBROKER_DATABASE_URL"):
        connect(None, None, None)
