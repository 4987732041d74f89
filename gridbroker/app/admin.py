"""The first key: an installation without one gets a platform organisation and an admin key, shown once."""

import asyncio

import sqlalchemy as sa

from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, connect
from gridbroker.core.settings import Settings
from gridbroker.identity import service as identity
from gridbroker.identity.role import OrganisationKind, Role

PLATFORM = "Gridbroker"
_LOCK = 0x6772_6164


async def ensure_admin(settings: Settings) -> str | None:
    """The secret of a new admin key, or None when there is one already. Two at once: one of them gets it."""
    db = connect(settings.app_database_url, settings.system_database_url, settings.database_url, pool_size=1)
    try:
        return await first_admin_key(db, settings.clock())
    finally:
        await db.close()


async def first_admin_key(db: Database, clock: Clock) -> str | None:
    async with db.as_system() as tx:
        await tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        if await identity.has_admin(tx):
            return None
        platform = await identity.create_organisation(tx, clock, name=PLATFORM, kind=OrganisationKind.PLATFORM)
        created = await identity.create_key(tx, clock, org_id=platform.org_id, role=Role.ADMIN, name="first admin")
        return created.secret


def ensure_admin_now(settings: Settings) -> str | None:
    return asyncio.run(ensure_admin(settings))
