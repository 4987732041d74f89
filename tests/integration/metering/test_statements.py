import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.grid.service import refresh
from gridbroker.grid.signal import Quality, Signal, SignalKind
from gridbroker.identity.role import OrganisationKind
from gridbroker.identity.service import create_organisation
from gridbroker.metering import repository
from gridbroker.metering.closing import PlacementFacts, StatementFacts
from gridbroker.metering.footprint import IntensityMissing
from gridbroker.metering.service import MeterRequest, close_statement, ingest, meter
from gridbroker.metering.statement import Baseline, Statement
from gridbroker.node_agent.protocol import EnergyKind, Sample, SampleBatch

HOUR = timedelta(hours=1)
NODES = {"FR": uuid4(), "DE": uuid4()}
PROVIDER = uuid4()
GRAMS = {"FR": 50.0, "DE": 400.0, "PL": 700.0}


async def sample_nodes(database: Database, start: datetime, hours: int, now: datetime) -> None:
    """Each node's one GPU draws 1 kW: a kWh per hour, read every quarter of an hour."""
    samples = tuple(
        Sample(
            seq=quarter + 1,
            gpu_index=0,
            at=(start + quarter * HOUR / 4).isoformat(),
            energy_mj=quarter * 900_000_000,
            power_w=1000,
            utilisation=1,
            kind=EnergyKind.MEASURED,
        )
        for quarter in range(4 * hours + 1)
    )
    async with database.as_org(PROVIDER) as tx:
        for node_id in NODES.values():
            await ingest(tx, SampleBatch(boot_id="b", samples=samples), org_id=PROVIDER, node_id=node_id, gpu_count=1, now=now)


async def know(database: Database, start: datetime, hours: int, grams: Mapping[str, float] = GRAMS) -> None:
    signals = [
        Signal(
            zone=zone,
            kind=SignalKind.CARBON_INTENSITY,
            at=start + offset * HOUR,
            value=value,
            source="test",
            quality=Quality.MEASURED,
        )
        for zone, value in grams.items()
        for offset in range(hours)
    ]
    async with database.as_system() as tx:
        await refresh(tx, signals, start + hours * HOUR)


def placement(zone: str, start: datetime, end: datetime, cost_micro: int) -> PlacementFacts:
    return PlacementFacts(
        placement_id=uuid4(),
        node_id=NODES[zone],
        provider_org_id=PROVIDER,
        zone=zone,
        pue=1.25,
        gpu_model="H100-SXM5-80GB",
        gpu_indices=(0,),
        started_at=start,
        ended_at=end,
        price_micro_per_gpu_hour=2_400_000,
        cost_micro=cost_micro,
    )


async def moved_run(database: Database, clock: FakeClock) -> StatementFacts:
    """An hour and a half in DE, then, after half an hour of moving, two hours in FR."""
    noon = clock.now()
    async with database.as_system() as tx:
        org_id = (await create_organisation(tx, clock, name="acme", kind=OrganisationKind.DEVELOPER)).org_id
    return StatementFacts(
        workload_id=clock.new_id(),
        org_id=org_id,
        outcome="completed",
        submitted_at=noon - 5 * HOUR,
        home_zone="DE",
        feasible=((NODES["DE"], "DE", 1.25), (NODES["FR"], "FR", 1.25), (uuid4(), "PL", 1.25)),
        placements=(
            placement("DE", noon - 4 * HOUR, noon - 2.5 * HOUR, 3_600_000),
            placement("FR", noon - 2 * HOUR, noon, 4_800_000),
        ),
        moves=1,
        clock_factor=1,
    )


async def close(database: Database, clock: FakeClock, facts: StatementFacts) -> Statement:
    async with database.as_system() as tx:
        return await close_statement(tx, clock.now(), facts)


async def test_a_moved_run_is_metered_emitted_billed_and_compared(database: Database, clock: FakeClock):
    facts = await moved_run(database, clock)
    await sample_nodes(database, clock.now() - 6 * HOUR, 7, clock.now() + HOUR)
    await know(database, clock.now() - 30 * HOUR, 31)
    statement = await close(database, clock, facts)
    kwh = 3_600_000_000
    assert statement.energy_mj == 35 * kwh // 10
    assert [usage.energy_mj for usage in statement.usages] == [15 * kwh // 10, 2 * kwh]
    assert statement.emissions_mg == 1250 * (1500 * 400 + 2000 * 50) // 1000
    assert (statement.cost_micro, statement.moves) == (8_400_000, 1)
    assert (statement.energy_kind, statement.grid_quality) == ("measured", "measured")
    baselines = {baseline.baseline: baseline for baseline in statement.counterfactuals}
    assert baselines[Baseline.HOME_ZONE].emissions_mg == 1250 * 3500 * 400 // 1000
    assert baselines[Baseline.BEST_FIXED_ZONE].zones == ("FR",)
    assert baselines[Baseline.BEST_FIXED_ZONE].avoided_mg < 0 < baselines[Baseline.UNIFORM_FEASIBLE].avoided_mg
    assert all(baseline.complete for baseline in statement.counterfactuals)


async def test_a_statement_is_written_once(database: Database, clock: FakeClock):
    facts = await moved_run(database, clock)
    await sample_nodes(database, clock.now() - 6 * HOUR, 7, clock.now() + HOUR)
    await know(database, clock.now() - 30 * HOUR, 31)
    first = await close(database, clock, facts)
    assert await close(database, clock, replace(facts, outcome="failed", placements=())) == first


async def test_what_is_billed_is_what_was_metered_and_stays_so(database: Database, clock: FakeClock):
    facts = await moved_run(database, clock)
    await sample_nodes(database, clock.now() - 6 * HOUR, 2, clock.now())
    await know(database, clock.now() - 30 * HOUR, 31)
    statement = await close(database, clock, facts)
    await sample_nodes(database, clock.now() - 6 * HOUR, 7, clock.now() + HOUR)
    for one in facts.placements:
        async with database.as_system() as tx:
            await meter(tx, _request(facts, one))
    async with database.as_system() as tx:
        events = await repository.events_of(tx, [one.placement_id for one in facts.placements])
    assert sum(event.energy_mj for event in events) == statement.energy_mj > 0
    assert statement.energy_kind == "modelled"


async def test_without_any_intensity_closing_waits_and_writes_nothing(database: Database, clock: FakeClock):
    facts = await moved_run(database, clock)
    await sample_nodes(database, clock.now() - 6 * HOUR, 7, clock.now() + HOUR)
    await know(database, clock.now() - 30 * HOUR, 31, {"FR": 50.0, "DE": 400.0})
    with pytest.raises(IntensityMissing, match="PL"):
        await close(database, clock, facts)
    async with database.as_system() as tx:
        assert await repository.find_statement(tx, facts.workload_id) is None
    await know(database, clock.now() - 30 * HOUR, 31, {"PL": 700.0})
    assert (await close(database, clock, facts)).energy_mj > 0


async def test_old_intensities_stand_in_and_are_called_estimates(database: Database, clock: FakeClock):
    facts = await moved_run(database, clock)
    await sample_nodes(database, clock.now() - 6 * HOUR, 7, clock.now() + HOUR)
    await know(database, clock.now() - 80 * HOUR, 10)
    statement = await close(database, clock, facts)
    assert statement.emissions_mg == 1250 * (1500 * 400 + 2000 * 50) // 1000
    assert statement.grid_quality == "estimated"
    assert not any(baseline.complete for baseline in statement.counterfactuals)


async def test_a_workload_that_never_ran_gets_zeros(database: Database, clock: FakeClock):
    facts = replace(await moved_run(database, clock), placements=(), outcome="cancelled", moves=0)
    statement = await close(database, clock, facts)
    assert (statement.energy_mj, statement.emissions_mg, statement.cost_micro) == (0, 0, 0)
    assert statement.usages == statement.segments == ()
    assert len(statement.counterfactuals) == 3


async def test_closers_at_once_agree_on_one_statement(database: Database, clock: FakeClock):
    facts = await moved_run(database, clock)
    await sample_nodes(database, clock.now() - 6 * HOUR, 7, clock.now() + HOUR)
    await know(database, clock.now() - 30 * HOUR, 31)
    outcomes = ("completed", "failed", "cancelled", "completed")
    closed = await asyncio.gather(*(close(database, clock, replace(facts, outcome=outcome)) for outcome in outcomes))
    assert all(statement == closed[0] for statement in closed)
    async with database.as_org(facts.org_id) as tx:
        assert len(await repository.list_statements(tx, facts.org_id, None, 10)) == 1


def _request(facts: StatementFacts, one: PlacementFacts) -> MeterRequest:
    return MeterRequest(
        subject_id=one.placement_id,
        org_id=facts.org_id,
        provider_org_id=one.provider_org_id,
        node_id=one.node_id,
        zone=one.zone,
        gpu_indices=one.gpu_indices,
        start=one.started_at,
        end=one.ended_at,
    )
