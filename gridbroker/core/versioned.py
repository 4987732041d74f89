"""Facts that are only ever added, tagged with the transaction that wrote them, so that a past view can be rebuilt exactly.

A decision stores the text of `pg_current_snapshot()`; the rows it could see are those whose `xid` is visible in that snapshot.
Unlike "the highest sequence number seen", this is right under concurrent commits. (A dump restored into another cluster starts a
new count of transactions, so decisions made before it can be read there but not re-planned.)
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from gridbroker.core.db import Tx


class Xid8(UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


def xid_column(name: str = "xid") -> sa.Column[Any]:
    """The writing transaction, filled in by the database."""
    return sa.Column(name, Xid8, nullable=False, server_default=sa.text("pg_current_xact_id()"))


async def current_snapshot(tx: Tx) -> str:
    return str(await tx.scalar(sa.text("select pg_current_snapshot()::text")))


def visible(column: sa.ColumnElement[Any], snapshot: str) -> sa.ColumnElement[bool]:
    """A condition that holds for rows committed when `snapshot` was taken."""
    return sa.func.pg_visible_in_snapshot(column, sa.cast(sa.literal(snapshot, sa.Text), _PgSnapshot))


class _PgSnapshot(UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "pg_snapshot"
