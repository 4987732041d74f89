"""Whether every workload finished exactly once: asked of the database, of the ledger and of those who ran the programs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any

import sqlalchemy as sa

from benchmarks.agents import Tally
from gridbroker.core.db import Database, connect
from gridbroker.core.settings import Settings
from gridbroker.settlement import service as settlement

POLL_S = 0.5
MAX_SHOWN = 10

_ENDED = sa.text("select count(*), max(ended_at) from workloads where state in ('completed', 'failed', 'cancelled')")
_COMMITTED = sa.text("select xact_commit from pg_stat_database where datname = current_database()")
_COUNTS = sa.text("""
select w.id, w.state,
  (select count(*) from statements s where s.workload_id = w.id) as statements,
  (select count(*) from charges c where c.workload_id = w.id) as charges,
  (select count(*) from receipts r where r.workload_id = w.id) as receipts,
  (select count(*) from placements p where p.workload_id = w.id and p.started_at is not null) as runs,
  (select count(*) from placements p where p.workload_id = w.id and p.end_reason is distinct from 'done') as other_placements,
  (select count(*) from ledger_transfers t where t.reference = w.id and t.kind = 'pending') as holds,
  (select count(*) from ledger_transfers t where t.reference = w.id and t.kind in ('post', 'void')) as holds_ended
from workloads w
""")
EXPECTED: dict[str, Any] = {
    "state": "completed",
    "statements": 1,
    "charges": 1,
    "receipts": 1,
    "runs": 1,
    "other_placements": 0,
    "holds": 1,
    "holds_ended": 1,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    exact: int
    """Workloads that finished exactly once."""
    problems: tuple[str, ...]


async def wait_until_ended(settings: Settings, count: int, timeout_s: float) -> tuple[datetime | None, int]:
    """When the last workload ended, once `count` have (None if they have not in time), and how many had by then."""
    deadline = perf_counter() + timeout_s
    async with _database(settings) as db:
        while True:
            async with db.as_system() as tx:
                ended, last = (await tx.execute(_ENDED)).one()
            if ended >= count:
                return last, ended
            if perf_counter() > deadline:
                return None, ended
            await asyncio.sleep(POLL_S)


async def committed(settings: Settings) -> int:
    """How many transactions the database has committed, give or take those of the last second."""
    async with _database(settings) as db, db.as_system() as tx:
        return int(await tx.scalar(_COMMITTED) or 0)


async def examine(settings: Settings, tally: Tally, total: int) -> Verdict:
    async with _database(settings) as db, db.as_system(repeatable=True) as tx:
        rows = [dict(row) for row in (await tx.execute(_COUNTS)).mappings()]
        unsound = await settlement.audit(tx)
    return judge(rows, tally.runs, total, unsound)


def judge(rows: Sequence[dict[str, Any]], runs: dict[str, int], total: int, unsound: Sequence[str]) -> Verdict:
    """`runs` is how often agents ran each workload to its end; `unsound` what the ledger's audit found."""
    wrong = {str(row["id"]): found for row in rows if (found := _differences(row, runs.get(str(row["id"]), 0)))}
    problems = [f"workload {workload_id}: {found}" for workload_id, found in wrong.items()][:MAX_SHOWN]
    problems += [f"ledger: {problem}" for problem in unsound][:MAX_SHOWN]
    if len(rows) != total:
        problems.append(f"{len(rows)} workloads are there, {total} were acknowledged")
    return Verdict(len(rows) - len(wrong), tuple(problems))


def _differences(row: dict[str, Any], runs: int) -> dict[str, Any]:
    found = {name: row[name] for name, expected in EXPECTED.items() if row[name] != expected}
    return found if runs == 1 else found | {"run by agents": runs}


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    db = connect(settings.app_database_url, settings.system_database_url, settings.database_url, pool_size=1)
    try:
        yield db
    finally:
        await db.close()
