from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.identity.role import OrganisationKind
from gridbroker.identity.service import create_organisation
from gridbroker.metering.estimation import estimate_energy
from gridbroker.pricing.quote import Quote, Range, make_quote
from gridbroker.pricing.service import AlreadyQuoted, get_quote, save_quote


def a_quote(clock: FakeClock) -> Quote:
    return make_quote(
        quote_id=clock.new_id(),
        workload_id=clock.new_id(),
        gpu_count=3,
        hours=1.1,
        price_micro_per_gpu_hour=2_400_000,
        energy=estimate_energy(idle_w=70, tdp_w=700, load=0.7, gpu_count=3, hours=1.1),
        pue_milli=1150,
        intensity_mg_per_kwh=Range(40_000, 50_000, 60_000),
        hold_micro=10_000_000,
        expires_at=clock.now() + timedelta(hours=1),
    )


async def organisation(database: Database, clock: FakeClock, name: str):
    async with database.as_system() as tx:
        return (await create_organisation(tx, clock, name=name, kind=OrganisationKind.DEVELOPER)).org_id


async def test_a_quote_is_kept_exactly_and_once(database: Database, clock: FakeClock):
    org_id, quote = await organisation(database, clock, "acme"), a_quote(clock)
    async with database.as_org(org_id) as tx:
        await save_quote(tx, quote, org_id)
    async with database.as_org(org_id) as tx:
        await save_quote(tx, quote, org_id)
        assert await get_quote(tx, quote.workload_id) == quote
        assert await get_quote(tx, clock.new_id()) is None


async def test_a_quote_does_not_change(database: Database, clock: FakeClock):
    org_id, quote = await organisation(database, clock, "acme"), a_quote(clock)
    async with database.as_org(org_id) as tx:
        await save_quote(tx, quote, org_id)
        with pytest.raises(AlreadyQuoted):
            await save_quote(tx, replace(quote, hold_micro=1), org_id)
        assert await get_quote(tx, quote.workload_id) == quote


async def test_another_organisation_neither_sees_nor_plants_a_quote(database: Database, clock: FakeClock):
    mine, theirs = await organisation(database, clock, "acme"), await organisation(database, clock, "other")
    quote = a_quote(clock)
    async with database.as_org(mine) as tx:
        await save_quote(tx, quote, mine)
    async with database.as_org(theirs) as tx:
        assert await get_quote(tx, quote.workload_id) is None
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.as_org(theirs) as tx:
            await save_quote(tx, a_quote(clock), mine)
