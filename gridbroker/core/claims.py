"""Rows that are their own queue: a worker claims what is due, works without a transaction, and records under its claim.

A table takes part by having `claim_columns()`. A claim is a token with an end; when the worker dies the claim runs out and the
next sweep hands the row to another. Claims run on the database's wall clock, so hosts need not agree on the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from gridbroker.core.db import Tx

NOW = sa.func.clock_timestamp()


def claim_columns() -> list[sa.Column[Any]]:
    """Columns of a work row. `due_at` null means that nothing is to be done until something sets it."""
    return [
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("claim_token", sa.Uuid, nullable=True),
        sa.Column("claim_until", sa.TIMESTAMP(timezone=True), nullable=True),
    ]


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's hold on one row."""

    id: UUID
    token: UUID
    attempts: int
    """How often the row was claimed since it last moved, this time included."""


async def claim_due(tx: Tx, table: sa.Table, *, limit: int, for_s: float, ids: Sequence[UUID] | None = None) -> list[Claim]:
    """Take up to `limit` due, unclaimed rows (only among `ids` where given), oldest first, skipping what others hold."""
    due = (
        sa.select(table.c.id)
        .where(table.c.due_at <= NOW, sa.or_(table.c.claim_until.is_(None), table.c.claim_until < NOW))
        .order_by(table.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if ids is not None:
        due = due.where(table.c.id.in_(ids))
    # A CTE runs once, whatever the planner thinks; a subquery may run again and take more than `limit`.
    chosen = due.cte("due")
    token = uuid4()
    rows = await tx.execute(
        table.update()
        .where(table.c.id == chosen.c.id)
        .values(claim_token=token, claim_until=NOW + sa.func.make_interval(0, 0, 0, 0, 0, 0, for_s), attempts=table.c.attempts + 1)
        .returning(table.c.id, table.c.attempts)
    )
    return [Claim(row.id, token, row.attempts) for row in rows]


async def record(tx: Tx, table: sa.Table, claim: Claim, *, due_in_s: float | None, **values: Any) -> bool:
    """Write `values` and give the row back, due again in `due_in_s` seconds of wall time (None: until something sets it).

    Returns False, having written nothing, when the claim was lost: drop the result, somebody else has the row.
    A row that was woken (`wake`) during the claim stays due at once, so no news is slept through.
    """
    due_at = None if due_in_s is None else NOW + sa.func.make_interval(0, 0, 0, 0, 0, 0, due_in_s)
    woken = table.c.due_at > table.c.claim_until
    result = await tx.execute(
        table.update()
        .where(table.c.id == claim.id, table.c.claim_token == claim.token)
        .values(due_at=sa.case((woken, NOW), else_=due_at), claim_token=None, claim_until=None, **values)
    )
    return result.rowcount == 1


async def wake(tx: Tx, table: sa.Table, row_id: UUID) -> None:
    """Make a row due now. One that is claimed is marked (due beyond its claim) so that `record` leaves it due."""
    held = table.c.claim_until > NOW
    await tx.execute(
        table.update()
        .where(table.c.id == row_id)
        .values(due_at=sa.case((held, table.c.claim_until + sa.text("interval '1 microsecond'")), else_=NOW))
    )
