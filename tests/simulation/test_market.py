"""The whole product in a small living market: random-walk weather, six nodes, faults; every promise holds after every tick."""

from collections import Counter
from pathlib import Path

import pytest

from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from tests.conftest import NOON
from tests.simulation.laws import check_end, check_tick
from tests.simulation.life import BUSY_TICKS, QUIET_TICKS, Life

SEEDS = (1, 2, 3)
seen: dict[int, Counter[str]] = {}


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_promise_holds_after_every_tick(seed: int, database: Database, tmp_path: Path) -> None:
    life = await Life.begin(seed, database, FakeClock(NOON, seed), tmp_path)
    try:
        await _live(life)
    except AssertionError as broken:
        raise AssertionError(f"seed {seed}, tick {life.tick_number}, {life.clock.now():%d %b %H:%M}: {broken}") from broken
    except Exception as error:
        error.add_note(f"seed {seed}, tick {life.tick_number}")
        raise
    finally:
        await life.world.close()
    seen[seed] = life.happened
    rows = await life.world.rows("select state, count(*) as n from workloads group by 1")
    assert {row["state"]: row["n"] for row in rows}.get("completed", 0) >= 5


async def _live(life: Life) -> None:
    for tick in range(BUSY_TICKS + QUIET_TICKS):
        is_steady = await life.tick()
        await check_tick(life, is_steady=is_steady)
        if tick >= BUSY_TICKS and await life.is_over():
            break
        if tick >= BUSY_TICKS + QUIET_TICKS // 2:
            await life.give_up_waiting()
    assert await life.is_over(), await life.world.rows("select id, state, state_reason, due_at from workloads where ended_at is null")
    await check_end(life)
    print("TALLY", seed, life.tick_number, dict(life.happened), rows, await life.world.rows("select kind, count(*) as n from workload_events group by 1"), await life.world.rows("select state_reason, count(*) n from workloads group by 1"), await life.world.rows("select end_reason, count(*) n from placements group by 1"), len(life.told_late), len(life.settled_before))
