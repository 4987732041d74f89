"""Recorded hourly traces of the grid as CSV: what a file must look like, and what is read from it.

Columns, in any order: zone, timestamp_utc, carbon_intensity_g_per_kwh, renewable_pct, price_eur_or_usd_per_mwh, currency, source.
One row per zone and hour, in any order; the timestamp is ISO 8601 with an offset or Z and names the beginning of the hour. An
empty cell is a missing value and stays missing. Everything else is strict: whatever cannot be read is an error naming the line,
except that rows of zones unknown here are counted and left out.
"""

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite

from gridbroker.core.errors import Invalid
from gridbroker.core.units import hour_floor
from gridbroker.grid.signal import Quality, Signal, SignalKind

COLUMNS = (
    "zone",
    "timestamp_utc",
    "carbon_intensity_g_per_kwh",
    "renewable_pct",
    "price_eur_or_usd_per_mwh",
    "currency",
    "source",
)
EUR_PER: Mapping[str, float] = {"EUR": 1.0, "USD": 0.92}
"""One rate for every hour: near the European Central Bank's mean reference rates of 2023 and 2024 (about USD 1.08 per EUR)."""

MAX_INTENSITY_G_PER_KWH = 3_000.0
"""No fuel emits as much; more is a wrong unit."""
MAX_PRICE_PER_MWH = 100_000.0
"""Ten times any market's cap, either way."""
MAX_SOURCE_LENGTH = 200
MAX_UNKNOWN_ZONES = 1_000


class BadTrace(Invalid):
    code, title = "bad_trace", "The grid trace cannot be read"


@dataclass(frozen=True, slots=True)
class HourRow:
    """One row: a zone's hour. None is a missing value."""

    intensity_g_per_kwh: float | None
    renewable_share: float | None
    price_eur_per_mwh: float | None
    currency: str
    """In which the price was quoted."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    name: str
    hours: Mapping[datetime, Mapping[str, HourRow]]
    """Rows by hour, then zone."""
    zones: frozenset[str]
    first_hour: datetime
    last_hour: datetime
    skipped: Mapping[str, int]
    """Rows left out, by their unknown zone."""


def parse(lines: Iterable[str], name: str, known_zones: Collection[str]) -> Trace:
    """Read a trace, line by line. Raises BadTrace naming `name` and the line."""
    hours: dict[datetime, dict[str, HourRow]] = {}
    skipped: Counter[str] = Counter()
    sources: dict[str, str] = {}
    for line, cells in _rows(lines, name):
        try:
            zone, at = cells[0], _hour(cells[1])
            row = _row(cells, sources)
        except ValueError as error:
            raise BadTrace(f"{name}, line {line}: {error}.") from None
        if zone not in known_zones:
            skipped[zone[:32] if len(skipped) < MAX_UNKNOWN_ZONES else "others"] += 1
            continue
        if zone in (of_hour := hours.setdefault(at, {})):
            raise BadTrace(f"{name}, line {line}: a second row for {zone} at {at:%Y-%m-%dT%H:%MZ}.")
        of_hour[zone] = row
    if not hours:
        unknown = f"; its zones are {', '.join(list(skipped)[:5])}" if skipped else ""
        raise BadTrace(f"{name} has no rows of zones that are known here ({', '.join(known_zones)}){unknown}.")
    return Trace(
        name=name,
        hours=hours,
        zones=frozenset(zone for of_hour in hours.values() for zone in of_hour),
        first_hour=min(hours),
        last_hour=max(hours),
        skipped=dict(skipped),
    )


def signals(trace: Trace, hour: datetime, source: str) -> Iterator[Signal]:
    """What the trace holds for one hour. `source` is the name under which it is replayed.

    A price quoted in USD is converted at one rate and called estimated for that; the rest is passed on as measured.
    """
    for zone, row in trace.hours.get(hour, {}).items():
        told_by = f"{source}|{row.source}"
        if row.intensity_g_per_kwh is not None:
            yield _signal(zone, SignalKind.CARBON_INTENSITY, hour, row.intensity_g_per_kwh, told_by)
        if row.renewable_share is not None:
            yield _signal(zone, SignalKind.RENEWABLE_SHARE, hour, row.renewable_share, told_by)
        if row.price_eur_per_mwh is None:
            continue
        if row.currency == "EUR":
            yield _signal(zone, SignalKind.PRICE, hour, row.price_eur_per_mwh, told_by)
        else:
            note = f"{told_by} ({row.currency} at {EUR_PER[row.currency]} EUR)"
            converted = _signal(zone, SignalKind.PRICE, hour, row.price_eur_per_mwh, note)
            yield replace(converted, quality=Quality.ESTIMATED)


def _signal(zone: str, kind: SignalKind, at: datetime, value: float, source: str) -> Signal:
    return Signal(zone=zone, kind=kind, at=at, value=value, source=source, quality=Quality.MEASURED)


def _rows(lines: Iterable[str], name: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells in the order of COLUMNS, without the header and blank lines."""
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, list[str]())
        places = _places(header, name)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise BadTrace(f"{name}, line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}.")
            yield reader.line_num, [cells[place].strip() for place in places]
    except csv.Error as error:
        raise BadTrace(f"{name}, line {reader.line_num}: {error}.") from None
    except UnicodeDecodeError:
        raise BadTrace(f"{name}, after line {reader.line_num}: not UTF-8 text.") from None


def _places(header: Sequence[str], name: str) -> list[int]:
    names = [cell.strip() for cell in header]
    if any(names.count(column) != 1 for column in COLUMNS):
        raise BadTrace(f"{name} is not a grid trace: its first line must hold the columns {','.join(COLUMNS)}.")
    return [names.index(column) for column in COLUMNS]


def _row(cells: Sequence[str], sources: dict[str, str]) -> HourRow:
    """Raises ValueError naming the column. `sources` keeps one copy of each text that repeats on thousands of rows."""
    _, _, intensity, renewable_percent, price, currency, source = cells
    if len(source) > MAX_SOURCE_LENGTH or not source.isprintable():
        raise ValueError(f"source is not plain text of at most {MAX_SOURCE_LENGTH} characters")
    if price and currency not in EUR_PER:
        raise ValueError(f"currency {currency[:20]!r} is not one of {', '.join(EUR_PER)}")
    share = _number(renewable_percent, "renewable_pct", 0, 100)
    amount = _number(price, "price_eur_or_usd_per_mwh", -MAX_PRICE_PER_MWH, MAX_PRICE_PER_MWH)
    return HourRow(
        _number(intensity, "carbon_intensity_g_per_kwh", 0, MAX_INTENSITY_G_PER_KWH),
        None if share is None else share / 100,
        None if amount is None else amount * EUR_PER[currency],
        "" if amount is None else sources.setdefault(currency, currency),
        sources.setdefault(source, source),
    )


def _number(text: str, column: str, least: float, most: float) -> float | None:
    if not text:
        return None
    try:
        number = float(text) if "_" not in text and text.isascii() else float("nan")
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{column} {text[:20]!r} is not a number")
    if not least <= number <= most:
        raise ValueError(f"{column} {text[:20]} is not between {least:g} and {most:g}")
    return number


def _hour(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"timestamp_utc {text[:40]!r} is not an ISO 8601 time") from None
    if at.tzinfo is None:
        raise ValueError(f"timestamp_utc {text[:40]!r} says no offset; UTC ends in Z")
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"timestamp_utc {text[:40]!r} is out of range") from None
    if at != hour_floor(at):
        raise ValueError(f"timestamp_utc {text[:40]!r} is not the beginning of an hour")
    return at
