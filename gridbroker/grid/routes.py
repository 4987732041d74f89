"""The grid over HTTP: zones with what is known of them now, and recorded signals."""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter, SkipValidation

from gridbroker.core.clock import Clock
from gridbroker.core.db import Database
from gridbroker.core.errors import FieldError, Invalid
from gridbroker.core.paging import Page
from gridbroker.grid import service
from gridbroker.grid.signal import Averaging, Outlook, Quality, Scope, Signal, SignalKind
from gridbroker.grid.surplus import SurplusFlag, evidence
from gridbroker.grid.zone import ZONES, Zone, find
from gridbroker.identity.guards import allow
from gridbroker.identity.role import PEOPLE, Caller

MAX_RANGE = timedelta(days=31)
DEFAULT_RANGE = timedelta(days=1)
YEARS = range(2000, 2100)
TIME_FORMAT = "an ISO 8601 time with an offset"

UNITS = {SignalKind.CARBON_INTENSITY: "gCO2e/kWh", SignalKind.PRICE: "EUR/MWh", SignalKind.RENEWABLE_SHARE: "1"}


class SignalView(msgspec.Struct):
    at: datetime
    """The value holds for the hour that begins here."""
    value: float
    source: str
    quality: Quality
    averaging: Averaging
    scope: Scope


class CurrentView(SignalView):
    unit: str
    age_s: int
    """Since the hour began."""


class ZoneView(msgspec.Struct):
    key: str
    name: str
    country: str
    time_zone: str
    latitude: float
    longitude: float
    price_currency: str
    carbon_intensity: CurrentView | None
    """The three are null when nothing was told within the last day."""
    price: CurrentView | None
    renewable_share: CurrentView | None
    surplus: list[SurplusFlag]
    """Evidence in the current hour; empty too when that hour was not observed."""


class SeriesView(msgspec.Struct):
    zone: str
    kind: SignalKind
    unit: str
    data: list[SignalView]
    """Oldest first; hours that nobody told of are absent."""


@get("/api/v1/grid/zones", guards=[allow(*PEOPLE)], tags=["grid"])
async def list_zones(
    caller: NamedDependency[Caller], db: NamedDependency[Database], clock: NamedDependency[SkipValidation[Clock]]
) -> Page[ZoneView]:
    """Every zone and the newest that is known of it. One page."""
    now = clock.now()
    async with db.as_org(caller.org_id) as tx:
        newest = await service.latest(tx, now)
        outlooks = await service.outlooks(tx, now)
    return Page([_zone(zone, newest, outlooks.get(zone.key), now) for zone in ZONES.values()])


@get("/api/v1/grid/signals", guards=[allow(*PEOPLE)], tags=["grid"])
async def list_signals(
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    *,
    zone: FromQuery[str],
    kind: FromQuery[SignalKind],
    start: Annotated[str | None, QueryParameter(name="from", description=TIME_FORMAT)] = None,
    end: Annotated[str | None, QueryParameter(name="to", description=TIME_FORMAT)] = None,
) -> SeriesView:
    """Recorded signals of one zone and kind for the hours that begin in [from, to): at most 31 days, by default the last one."""
    find(zone)
    from_at, to_at = _stretch(start, end, clock.now())
    async with db.as_org(caller.org_id) as tx:
        found = await service.series(tx, zone, kind, from_at, to_at)
    return SeriesView(zone, kind, UNITS[kind], [_signal(signal) for signal in found])


def _stretch(start: str | None, end: str | None, now: datetime) -> tuple[datetime, datetime]:
    to_at = now if end is None else _time(end, "/to")
    from_at = to_at - DEFAULT_RANGE if start is None else _time(start, "/from")
    if from_at >= to_at:
        raise _bad_range("/to", "must lie after from")
    if to_at - from_at > MAX_RANGE:
        raise _bad_range("/from", f"must lie at most {MAX_RANGE.days} days before to")
    return from_at, to_at


def _time(text: str, pointer: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _bad_range(pointer, f"must be {TIME_FORMAT}") from None
    if at.tzinfo is None:
        raise _bad_range(pointer, "needs an offset, such as Z for UTC")
    if at.year not in YEARS:
        raise _bad_range(pointer, f"must lie between the years {YEARS.start} and {YEARS.stop - 1}")
    return at


def _bad_range(pointer: str, detail: str) -> Invalid:
    return Invalid(f"{pointer.removeprefix('/')} {detail}.", errors=[FieldError(pointer, detail)])


def _zone(zone: Zone, newest: dict[tuple[str, SignalKind], Signal], outlook: Outlook | None, now: datetime) -> ZoneView:
    return ZoneView(
        key=zone.key,
        name=zone.name,
        country=zone.country,
        time_zone=zone.time_zone,
        latitude=zone.latitude,
        longitude=zone.longitude,
        price_currency=zone.price_currency,
        carbon_intensity=_current(newest.get((zone.key, SignalKind.CARBON_INTENSITY)), now),
        price=_current(newest.get((zone.key, SignalKind.PRICE)), now),
        renewable_share=_current(newest.get((zone.key, SignalKind.RENEWABLE_SHARE)), now),
        surplus=list(evidence(outlook).flags) if outlook else [],
    )


def _current(signal: Signal | None, now: datetime) -> CurrentView | None:
    if signal is None:
        return None
    return CurrentView(
        at=signal.at,
        value=signal.value,
        source=signal.source,
        quality=signal.quality,
        averaging=signal.averaging,
        scope=signal.scope,
        unit=UNITS[signal.kind],
        age_s=int((now - signal.at).total_seconds()),
    )


def _signal(signal: Signal) -> SignalView:
    return SignalView(signal.at, signal.value, signal.source, signal.quality, signal.averaging, signal.scope)


ROUTES = [list_zones, list_signals]
