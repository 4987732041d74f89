"""What is known of the grid, on a real database: recorded once, revised by addition, seen as it was."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.core.versioned import current_snapshot
from gridbroker.grid import service
from gridbroker.grid.models import grid_signals
from gridbroker.grid.signal import Averaging, Quality, Scope, Signal, SignalKind
from gridbroker.grid.sources.base import hours_between
from gridbroker.grid.sources.typical import TypicalSource
from gridbroker.grid.zone import ZONES

ORG = UUID(int=1)
HOUR = timedelta(hours=1)
PER_HOUR = len(ZONES) * len(SignalKind)


class ListSource:
    """A source that holds what it was given, and remembers what it was asked."""

    name = "list"
    kind = "live"

    def __init__(self, *signals: Signal) -> None:
        self.signals = list(signals)
        self.asked: list[tuple[datetime, datetime]] = []

    async def fetch(self, since: datetime, until: datetime) -> list[Signal]:
        self.asked.append((since, until))
        return [signal for signal in self.signals if since <= signal.at <= until]


def intensity(at: datetime, value: float = 100.0, zone: str = "ES", source: str = "list") -> Signal:
    return Signal(zone=zone, kind=SignalKind.CARBON_INTENSITY, at=at, value=value, source=source, quality=Quality.MEASURED)


def daily(start: datetime, end: datetime, value: Callable[[datetime], float] = lambda at: 100.0 + at.hour) -> list[Signal]:
    return [intensity(at, value(at)) for at in hours_between(start, end)]


async def record(db: Database, clock: FakeClock, *signals: Signal) -> int:
    async with db.as_system() as tx:
        return await service.refresh(tx, signals, clock.now())


async def outlooks(db: Database, clock: FakeClock, snapshot: str | None = None):
    async with db.as_system(repeatable=True) as tx:
        return await service.outlooks(tx, clock.now(), snapshot=snapshot)


async def count(db: Database) -> int:
    async with db.as_system() as tx:
        return await tx.scalar(sa.select(sa.func.count()).select_from(grid_signals))


async def test_the_same_again_adds_nothing(database, clock):
    signals = daily(clock.now() - 5 * HOUR, clock.now())
    assert await record(database, clock, *signals) == 6
    assert await record(database, clock, *signals) == 0
    assert await record(database, clock) == 0
    assert await count(database) == 6


async def test_another_value_is_a_revision_and_the_newest_counts(database, clock):
    now = clock.now()
    for value in (100.0, 120.0, 100.0):
        assert await record(database, clock, intensity(now, value)) == 1
        clock.advance(timedelta(minutes=1))
    assert await count(database) == 3
    async with database.as_system() as tx:
        (found,) = await service.series(tx, "ES", SignalKind.CARBON_INTENSITY, now, now + HOUR)
        numbers = (await tx.scalars(sa.select(grid_signals.c.revision).order_by(grid_signals.c.recorded_at))).all()
    assert found.value == 100.0 and list(numbers) == [0, 1, 2]
    assert (await outlooks(database, clock))["ES"].intensity_g_per_kwh[0] == 100.0


async def test_racing_refreshes_record_each_signal_once(database, clock):
    source = TypicalSource()
    added = await asyncio.gather(*(service.refresh_from(database, clock, source, history_h=12) for _ in range(4)))
    assert sum(added) == await count(database) == 13 * PER_HOUR


async def test_a_first_refresh_brings_history_and_later_ones_only_news(database, clock):
    source = ListSource(*daily(clock.now() - 100 * HOUR, clock.now() + 100 * HOUR))
    assert await service.refresh_from(database, clock, source, history_h=72) == 73
    assert await service.refresh_from(database, clock, source) == 0
    clock.advance(timedelta(hours=3, minutes=30))
    assert await service.refresh_from(database, clock, source) == 3
    now = clock.now()
    assert source.asked[-1] == (now - timedelta(hours=5, minutes=30), now)


async def test_after_a_long_pause_a_refresh_catches_up_within_bounds(database, clock):
    source = ListSource(*daily(clock.now(), clock.now() + timedelta(days=90)))
    await service.refresh_from(database, clock, source)
    clock.advance(timedelta(days=5))
    assert await service.refresh_from(database, clock, source) == 5 * 24
    clock.advance(timedelta(days=80))
    assert await service.refresh_from(database, clock, source) == 31 * 24 + 1


async def test_a_change_of_source_brings_its_own_history(database, clock):
    await service.refresh_from(database, clock, TypicalSource())
    assert (await outlooks(database, clock))["ES"].quality is Quality.MODELLED
    source = ListSource(*daily(clock.now() - 80 * HOUR, clock.now()))
    assert await service.refresh_from(database, clock, source) == 73
    found = await outlooks(database, clock)
    assert (found["ES"].source, found["ES"].intensity_g_per_kwh[0]) == ("list", 112.0)
    assert found["FR"].source == "typical"


async def test_typical_outlooks_are_exact_and_labelled(database, clock):
    await service.refresh_from(database, clock, TypicalSource())
    found = await outlooks(database, clock)
    assert list(found) == list(ZONES)
    spain, britain = found["ES"], found["GB"]
    assert {(one.quality, one.method, one.error_ratio) for one in found.values()} == {("modelled", "typical-day", 0.0)}
    assert len(spain.intensity_g_per_kwh) == len(spain.price_eur_per_mwh) == 49
    assert spain.intensity_g_per_kwh[0] < 70 and spain.intensity_g_per_kwh[8] > 2 * britain.intensity_g_per_kwh[8]
    clock.advance(timedelta(hours=7))
    await service.refresh_from(database, clock, TypicalSource())
    later = (await outlooks(database, clock))["ES"]
    assert later.intensity_g_per_kwh[:42] == spain.intensity_g_per_kwh[7:]


async def test_nothing_after_the_current_hour_is_looked_at(database, clock):
    await record(database, clock, *daily(clock.now() - 60 * HOUR, clock.now()))
    before = await outlooks(database, clock)
    await record(database, clock, *daily(clock.now() + HOUR, clock.now() + 9 * HOUR, lambda _: 5000.0))
    assert await outlooks(database, clock) == before
    clock.advance(timedelta(minutes=59))
    assert await outlooks(database, clock) == before


async def test_no_news_ages_the_outlook_and_then_ends_it(database, clock):
    await record(database, clock, *daily(clock.now() - 60 * HOUR, clock.now()))
    observed_at = clock.now()
    clock.advance(3 * HOUR)
    late = (await outlooks(database, clock))["ES"]
    assert (late.observed_at, late.quality, late.intensity_g_per_kwh[0]) == (observed_at, Quality.ESTIMATED, 115.0)
    clock.advance(22 * HOUR)
    assert await outlooks(database, clock) == {}


async def test_marginal_and_direct_signals_are_kept_apart(database, clock):
    plain = intensity(clock.now(), 100.0)
    marginal, direct = replace(plain, value=700.0, averaging=Averaging.MARGINAL), replace(plain, value=60.0, scope=Scope.DIRECT)
    assert await record(database, clock, plain, marginal, direct) == 3
    assert (await outlooks(database, clock))["ES"].intensity_g_per_kwh[0] == 100.0


async def test_a_snapshot_shows_what_was_committed_when_it_was_taken(database, clock):
    await record(database, clock, *daily(clock.now() - 60 * HOUR, clock.now()))
    before = await outlooks(database, clock)
    async with database.as_system() as slow:
        await service.refresh(slow, [intensity(clock.now(), 300.0)], clock.now())
        async with database.as_system(repeatable=True) as tx:
            snapshot = await current_snapshot(tx)
            assert await service.outlooks(tx, clock.now()) == before
    after = await outlooks(database, clock)
    assert after["ES"].intensity_g_per_kwh[0] == 300.0
    assert await outlooks(database, clock, snapshot) == before
    assert await outlooks(database, clock) == after


async def test_remembered_outlooks_are_nobody_elses_to_change(database, clock):
    await record(database, clock, *daily(clock.now() - 60 * HOUR, clock.now()))
    first = await outlooks(database, clock)
    first.clear()
    assert "ES" in await outlooks(database, clock)


async def test_settled_intensities_with_gaps(database, clock):
    now = clock.now()
    await record(database, clock, *[signal for signal in daily(now - 10 * HOUR, now) if signal.at.hour not in (7, 8)])
    await record(database, clock, intensity(now - 3 * HOUR, 250.25))
    async with database.as_system() as tx:
        found = await service.settled_intensities(tx, ["ES", "FR", "ES"], now - 6 * HOUR + HOUR / 2, now)
    by_hour = {at.hour: (one.mg_per_kwh, one.quality) for (_, at), one in found.items()}
    assert {zone for zone, _ in found} == {"ES"}
    assert by_hour == {
        6: (106_000, "measured"),
        7: (106_000, "estimated"),
        8: (106_000, "estimated"),
        9: (250_250, "measured"),
        10: (110_000, "measured"),
        11: (111_000, "measured"),
    }


async def test_series_are_of_one_zone_kind_and_stretch(database, clock):
    await service.refresh_from(database, clock, TypicalSource(), history_h=5)
    async with database.as_system() as tx:
        found = await service.series(tx, "GB", SignalKind.PRICE, clock.now() - 2 * HOUR, clock.now())
    assert [(signal.zone, signal.kind, signal.at) for signal in found] == [
        ("GB", SignalKind.PRICE, clock.now() - age * HOUR) for age in (2, 1)
    ]


async def test_no_role_can_rewrite_what_was_told(database, clock):
    await record(database, clock, intensity(clock.now()))
    attempts = [
        (database.as_org(ORG), grid_signals.insert().values(id=ORG)),
        (database.as_org(ORG), grid_signals.delete()),
        (database.as_system(), grid_signals.update().values(value=1.0)),
        (database.as_system(), grid_signals.delete()),
    ]
    for transaction, statement in attempts:
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            async with transaction as tx:
                await tx.execute(statement)
    assert await count(database) == 1


async def test_every_organisation_may_read(database, clock):
    await service.refresh_from(database, clock, TypicalSource())
    async with database.as_org(ORG) as tx:
        assert len(await service.outlooks(tx, clock.now())) == len(ZONES)
