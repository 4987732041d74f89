"""Claims on a real table: one holder at a time, nothing lost when it dies, and no news slept through."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.core.claims import Claim, claim_columns, claim_due, record, wake
from gridbroker.core.db import SYSTEM_ROLE, Database, async_url

work = sa.Table(
    "work",
    sa.MetaData(),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("state", sa.Text, nullable=False, server_default="new"),
    *claim_columns(),
)
LONG_S = 30.0


@pytest.fixture
async def db(postgres: EmbeddedPostgres, database_name: str, database: Database) -> AsyncIterator[Database]:
    engine = create_async_engine(async_url(postgres.database_urls(database_name).owner))
    async with engine.begin() as tx:
        await tx.run_sync(work.create)
        await tx.execute(sa.text(f"grant select, insert, update on work to {SYSTEM_ROLE}"))
    await engine.dispose()
    yield database


async def add(db: Database, due: str | None = "clock_timestamp()") -> UUID:
    row_id = uuid4()
    async with db.as_system() as tx:
        await tx.execute(work.insert().values(id=row_id, due_at=sa.text(due) if due else None))
    return row_id


async def claim(db: Database, *, limit: int = 10, for_s: float = LONG_S, ids: list[UUID] | None = None) -> list[Claim]:
    async with db.as_system() as tx:
        return await claim_due(tx, work, limit=limit, for_s=for_s, ids=ids)


async def keep(db: Database, held: Claim, due_in_s: float | None = None, **values: object) -> bool:
    async with db.as_system() as tx:
        return await record(tx, work, held, due_in_s=due_in_s, **values)


async def rouse(db: Database, row_id: UUID) -> None:
    async with db.as_system() as tx:
        await wake(tx, work, row_id)


async def row(db: Database, row_id: UUID) -> sa.Row:
    due = sa.func.coalesce(work.c.due_at <= sa.func.clock_timestamp(), False).label("is_due")
    async with db.as_system() as tx:
        return (await tx.execute(sa.select(work, due).where(work.c.id == row_id))).one()


async def expire(db: Database, row_id: UUID) -> None:
    """As if the claim's time had passed: it and the waking that refers to it move back by the same amount."""
    back = sa.text("interval '1 hour'")
    async with db.as_system() as tx:
        await tx.execute(
            work.update().where(work.c.id == row_id).values(claim_until=work.c.claim_until - back, due_at=work.c.due_at - back)
        )


async def test_a_due_row_is_claimed_recorded_and_rests(db):
    row_id = await add(db)
    [held] = await claim(db)
    assert (held.id, held.attempts) == (row_id, 1)
    assert await claim(db) == []
    assert await keep(db, held, state="done", attempts=0)
    kept = await row(db, row_id)
    assert (kept.state, kept.due_at, kept.claim_token, kept.claim_until, kept.attempts) == ("done", None, None, None, 0)
    assert await claim(db) == []


async def test_only_what_is_due_and_asked_for_is_claimed_oldest_first(db):
    late = await add(db, "clock_timestamp() - interval '1 minute'")
    oldest = await add(db, "clock_timestamp() - interval '1 hour'")
    future = await add(db, "clock_timestamp() + interval '1 hour'")
    never = await add(db, None)
    assert await claim(db, ids=[future, never]) == []
    assert await claim(db, ids=[]) == []
    assert [held.id for held in await claim(db, limit=1)] == [oldest]
    assert [held.id for held in await claim(db)] == [late]


async def test_due_again_after_a_while(db):
    row_id = await add(db)
    [held] = await claim(db)
    await keep(db, held, due_in_s=60.0)
    assert not (await row(db, row_id)).is_due
    await rouse(db, row_id)
    [held] = await claim(db)
    await keep(db, held, due_in_s=0)
    assert (await row(db, row_id)).is_due


async def test_a_row_that_is_woken_during_its_claim_stays_due(db):
    row_id = await add(db)
    [held] = await claim(db)
    await rouse(db, row_id)
    await rouse(db, row_id)
    assert await claim(db) == [], "it is still held"
    assert await keep(db, held, due_in_s=3600.0, state="moved")
    assert (await row(db, row_id)).is_due
    [again] = await claim(db)
    await keep(db, again)
    assert (await row(db, row_id)).due_at is None, "one waking, one more look"


async def test_waking_a_row_that_rests_makes_it_due_and_waking_none_does_nothing(db):
    row_id = await add(db, None)
    await rouse(db, row_id)
    await rouse(db, uuid4())
    assert [held.id for held in await claim(db)] == [row_id]


async def test_a_dead_holders_row_goes_to_another_and_its_late_result_is_dropped(db):
    row_id = await add(db)
    [dead] = await claim(db)
    await expire(db, row_id)
    [alive] = await claim(db)
    assert alive.attempts == 2 and alive.token != dead.token
    assert not await keep(db, dead, state="wrong")
    assert (await row(db, row_id)).state == "new"
    assert await keep(db, alive, state="right")
    assert not await keep(db, alive, state="twice"), "a claim is good for one record"
    assert not await keep(db, dead, state="wrong")
    assert (await row(db, row_id)).state == "right"


async def test_a_waking_survives_the_holders_death(db):
    row_id = await add(db)
    [dead] = await claim(db)
    await rouse(db, row_id)
    await expire(db, row_id)
    [alive] = await claim(db)
    assert alive.id == row_id and alive.token != dead.token
    await keep(db, alive)
    assert (await row(db, row_id)).due_at is None, "the second holder read the news after the waking"


async def test_an_expired_claim_that_nobody_took_may_still_be_recorded(db):
    row_id = await add(db)
    [slow] = await claim(db)
    await expire(db, row_id)
    assert await keep(db, slow, state="late but alone")
    assert (await row(db, row_id)).state == "late but alone"


async def test_a_rolled_back_claim_was_never_made(db):
    row_id = await add(db)
    with pytest.raises(RuntimeError):
        async with db.as_system() as tx:
            await claim_due(tx, work, limit=1, for_s=LONG_S)
            raise RuntimeError
    assert [(held.id, held.attempts) for held in await claim(db)] == [(row_id, 1)]


async def test_claiming_passes_over_rows_that_others_lock(db):
    locked, free = await add(db), await add(db)
    async with db.as_system() as tx:
        await tx.execute(sa.select(work).where(work.c.id == locked).with_for_update())
        async with asyncio.timeout(5):
            assert [held.id for held in await claim(db)] == [free]
    assert [held.id for held in await claim(db)] == [locked]


async def test_many_workers_share_the_rows_without_overlap(db):
    ids = {await add(db) for _ in range(40)}
    found = [held for some in await asyncio.gather(*[claim(db, limit=7) for _ in range(12)]) for held in some]
    while more := await claim(db, limit=7):
        found += more
    assert len(found) == len(ids) and {held.id for held in found} == ids


async def test_no_more_than_the_limit_is_taken_however_the_query_is_planned(db):
    for _ in range(30):
        await add(db)
    async with db.as_system() as tx:
        # Plans in which a subquery would run once for every row.
        for setting in ("enable_hashjoin", "enable_mergejoin", "enable_hashagg", "enable_sort", "enable_material"):
            await tx.execute(sa.text(f"set local {setting} = off"))
        assert len(await claim_due(tx, work, limit=3, for_s=LONG_S)) == 3
