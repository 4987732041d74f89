"""Transactions on PostgreSQL under the two roles that the server uses.

`as_org` binds one organisation: forced row-level security hides every other one's rows. `as_system` sees all of them and is for
claims, routing and the marketplace. Both commit when the block ends and roll back when it raises; nobody else commits.
Never hold a transaction open across a network call.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

APP_ROLE = "gridbroker_app"
SYSTEM_ROLE = "gridbroker_system"
ORG_SETTING = "gridbroker.org"

Tx = AsyncConnection

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of every context, so that migrations can be checked against the code."""


@dataclass(frozen=True, slots=True)
class Database:
    app: AsyncEngine
    system: AsyncEngine

    @asynccontextmanager
    async def as_org(self, org_id: UUID) -> AsyncIterator[Tx]:
        """One transaction that sees and writes only `org_id`'s rows."""
        async with self.app.begin() as tx:
            await tx.execute(_BIND_ORG, {"org": str(org_id)})
            yield tx

    @asynccontextmanager
    async def as_system(self, *, repeatable: bool = False) -> AsyncIterator[Tx]:
        """One transaction that sees every organisation's rows; with `repeatable`, all its statements see one moment."""
        async with self.system.begin() as tx:
            if repeatable:
                await tx.execute(_REPEATABLE)
            yield tx

    async def close(self) -> None:
        await self.app.dispose()
        await self.system.dispose()


_REPEATABLE = sa.text("set transaction isolation level repeatable read")
_BIND_ORG = sa.text(f"select set_config('{ORG_SETTING}', :org, true)")


def connect(app_url: str | None, system_url: str | None, owner_url: str | None, *, pool_size: int = 10) -> Database:
    """Engines for the two roles. A role without a URL of its own uses the owner's and SET ROLE on each connection."""
    return Database(_engine(app_url, owner_url, APP_ROLE, pool_size), _engine(system_url, owner_url, SYSTEM_ROLE, pool_size))


def _engine(own_url: str | None, owner_url: str | None, role: str, pool_size: int) -> AsyncEngine:
    url = own_url or owner_url
    if url is None:
        raise ValueError("no database URL: set GRIDBROKER_DATABASE_URL")
    server_settings = {"application_name": "gridbroker", "timezone": "UTC"}
    if own_url is None:
        server_settings["role"] = role
    return create_async_engine(
        async_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=False,
        hide_parameters=True,  # errors are logged with their text, and parameters are customers' data
        connect_args={"server_settings": server_settings, "timeout": 10, "command_timeout": 60},
    )


def async_url(url: str) -> str:
    """The same database through asyncpg: postgres:// and postgresql:// become postgresql+asyncpg://."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in ("postgres", "postgresql"):
        raise ValueError("the database URL must begin with postgresql://")
    return f"postgresql+asyncpg://{rest}"


async def driver_connection(tx: Tx) -> Any:
    """The asyncpg connection under a transaction, for COPY and other hot paths."""
    return (await tx.get_raw_connection()).driver_connection
