"""Bring a database to the schema that this code expects."""

import asyncio
from collections.abc import Callable
from importlib import resources
from typing import TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import create_async_engine

from gridbroker.app import tables
from gridbroker.core.db import async_url
from gridbroker.core.errors import Conflict
from gridbroker.core.versioned import Xid8

_LOCK = 0x6772_6964  # "grid": two servers starting at once migrate one after the other
LOCK_TIMEOUT_S = 30
T = TypeVar("T")

ischema_names["xid8"] = Xid8  # a type that SQLAlchemy does not know by itself, for the comparison below


class SchemaTooNew(Conflict):
    code, title = "schema_too_new", "The database was written by a newer Gridbroker"


def upgrade(owner_url: str) -> str:
    """Run what is missing and return the revision. Raises SchemaTooNew when the database knows a revision that we do not."""
    return asyncio.run(_with_connection(owner_url, _upgrade))


def revision(owner_url: str) -> str | None:
    return asyncio.run(_with_connection(owner_url, _current))


def differences(owner_url: str) -> list[str]:
    """Where the tables in the code and in the database disagree; empty when the migrations are complete."""
    return asyncio.run(_with_connection(owner_url, _differences))


async def upgrade_async(owner_url: str) -> str:
    return await _with_connection(owner_url, _upgrade)


async def _with_connection(owner_url: str, action: Callable[[sa.Connection], T]) -> T:
    engine = create_async_engine(async_url(owner_url), connect_args={"server_settings": {"timezone": "UTC"}})
    try:
        async with engine.connect() as connection:
            result = await connection.run_sync(action)
            await connection.commit()
            return result
    finally:
        await engine.dispose()


def _upgrade(connection: sa.Connection) -> str:
    connection.execute(sa.text(f"set lock_timeout = '{LOCK_TIMEOUT_S}s'"))
    connection.execute(sa.text(f"select pg_advisory_lock({_LOCK})"))
    try:
        config = _config(connection)
        script = ScriptDirectory.from_config(config)
        _refuse_unknown(_current(connection), script)
        command.upgrade(config, "head")
        connection.commit()
    except BaseException:
        connection.rollback()  # so that the unlock below runs, and the cause is what the caller sees
        raise
    finally:
        connection.execute(sa.text(f"select pg_advisory_unlock({_LOCK})"))
    head = script.get_current_head()
    assert head is not None, "the package ships its migrations"
    return head


def _refuse_unknown(current: str | None, script: ScriptDirectory) -> None:
    if current is not None and current not in {item.revision for item in script.walk_revisions()}:
        raise SchemaTooNew(f"The database is at revision {current}, which this version does not know. Install a newer Gridbroker.")


def _current(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _differences(connection: sa.Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
    return [str(difference) for difference in compare_metadata(context, tables.metadata)]


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("gridbroker") / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["target_metadata"] = tables.metadata
    return config
