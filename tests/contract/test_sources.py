"""What every grid source promises: the same cases for each. A real one joins by adding itself to `SOURCES`."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path

import pytest

from gridbroker.core.units import hour_floor
from gridbroker.grid.knowledge import key, origin
from gridbroker.grid.signal import Quality, SignalKind
from gridbroker.grid.sources.base import Source
from gridbroker.grid.sources.replay import MAX_LINE_LENGTH, ReplaySource
from gridbroker.grid.sources.typical import TypicalSource
from gridbroker.grid.trace import COLUMNS, BadTrace
from gridbroker.grid.zone import ZONES

NOON = datetime(2022, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HEADER = ",".join(COLUMNS)


def write_trace(folder: Path, *, compressed: bool = False) -> Path:
    """Two days around noon of two zones, with a gap of three hours and one unknown zone."""
    rows = [HEADER]
    for age in range(-24, 24):
        at = NOON + age * HOUR
        if age not in (-5, -6, -7):
            rows.append(f"ES,{at:%Y-%m-%dT%H:%MZ},{150 + age},60,{age},EUR,em|rte")
        rows.append(f"US-TEX-ERCO,{at:%Y-%m-%dT%H:%MZ},400,,30,USD,em|ercot")
        rows.append(f"SE,{at:%Y-%m-%dT%H:%MZ},20,,30,EUR,em|np")
    text = "\n".join(rows).encode()
    path = folder / ("trace.csv.gz" if compressed else "trace.csv")
    path.write_bytes(gzip.compress(text) if compressed else text)
    return path


SOURCES: dict[str, Callable[[Path], Source]] = {
    "typical": lambda _: TypicalSource(),
    "replay": lambda folder: ReplaySource(write_trace(folder)),
    "replay of a compressed trace": lambda folder: ReplaySource(write_trace(folder, compressed=True)),
}


@pytest.fixture(params=SOURCES.values(), ids=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    return request.param(tmp_path)


async def test_signals_are_of_known_zones_whole_hours_and_finite(source):
    found = await source.fetch(NOON - 10 * HOUR, NOON)
    assert found
    for signal in found:
        assert signal.zone in ZONES
        assert signal.at.tzinfo is not None and signal.at == hour_floor(signal.at)
        assert NOON - 10 * HOUR <= signal.at <= NOON
        assert isfinite(signal.value)
        if signal.kind is SignalKind.RENEWABLE_SHARE:
            assert 0 <= signal.value <= 1
        if signal.kind is SignalKind.CARBON_INTENSITY:
            assert signal.value >= 0


async def test_each_signal_comes_at_most_once_and_again_the_same(source):
    found = await source.fetch(NOON - 10 * HOUR, NOON)
    assert len({key(signal) for signal in found}) == len(found)
    assert await source.fetch(NOON - 10 * HOUR, NOON) == found


async def test_signals_name_their_source_and_say_how_good_they_are(source):
    found = await source.fetch(NOON - 10 * HOUR, NOON)
    assert {origin(signal.source) for signal in found} == {source.name}
    assert "|" not in source.name
    modelled = {signal.quality is Quality.MODELLED for signal in found}
    assert modelled == {source.kind == "modelled"}


@pytest.mark.parametrize("minutes", [0, 1, 59])
async def test_nothing_is_told_before_its_hour_begins(source, minutes):
    until = NOON + timedelta(minutes=minutes)
    assert max(signal.at for signal in await source.fetch(NOON - HOUR, until)) == NOON
    assert await source.fetch(NOON + timedelta(minutes=1), NOON + timedelta(minutes=59)) == []
    assert await source.fetch(NOON + HOUR, NOON) == []


async def test_hours_are_those_asked_for(source):
    (first, second) = (await source.fetch(NOON, NOON), await source.fetch(NOON + HOUR, NOON + HOUR))
    both = await source.fetch(NOON, NOON + HOUR)
    assert sorted(both, key=repr) == sorted(first + second, key=repr)
    assert first and second


async def test_a_replay_leaves_gaps_as_they_are(tmp_path):
    source = ReplaySource(write_trace(tmp_path))
    hours = {signal.at for signal in await source.fetch(NOON - 10 * HOUR, NOON) if signal.zone == "ES"}
    assert hours == {NOON - age * HOUR for age in (*range(5), 8, 9, 10)}
    assert source.load().skipped == {"SE": 48}
    assert (source.load().first_hour, source.load().last_hour) == (NOON - 24 * HOUR, NOON + 23 * HOUR)
    assert await source.fetch(NOON + 100 * HOUR, NOON + 200 * HOUR) == []


def test_a_file_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(BadTrace, match="cannot be opened: No such file"):
        ReplaySource(tmp_path / "none.csv")
    with pytest.raises(BadTrace, match="cannot be opened"):
        ReplaySource(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a grid trace"),
        (b"\x00\x01\x02\xff", "not"),
        (b"\xff\xfe" + HEADER.encode("utf-16-le"), "not UTF-8"),
        (b"\x1f\x8b", "damaged"),
        (gzip.compress(HEADER.encode())[:-9], "damaged"),
        (b"\x1f\x8b" + b"x" * 50, "damaged"),
        (b"x" * (MAX_LINE_LENGTH + 5), "longer than"),
        (gzip.compress(b"x" * 10_000_000), "line 1: longer than"),
        (f"{HEADER}\nES,2022-06-01T12:00Z,1,,,,\xe9\n".encode("latin-1"), "not UTF-8"),
        (b"PK\x03\x04 a zip file", "not a grid trace"),
    ],
)
async def test_hostile_files_are_refused_with_a_reason(tmp_path, content, says):
    path = tmp_path / "hostile.csv"
    path.write_bytes(content)
    with pytest.raises(BadTrace, match=says) as refused:
        await ReplaySource(path).fetch(NOON, NOON)
    assert "hostile.csv" in refused.value.detail


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    path = tmp_path / "windows.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\nES,2022-06-01T12:00Z,1,,,,s\r\n".encode())
    assert ReplaySource(path).load().zones == {"ES"}


def test_a_name_with_odd_characters_becomes_a_plain_source_name(tmp_path):
    path = tmp_path / "my trace|v2\n.csv"
    path.write_text(f"{HEADER}\n")
    assert ReplaySource(path).name == "replay:my_trace_v2_.csv"


def test_a_recorded_year_is_read_whole():
    path = Path(__file__).parents[2].parent / "shared" / "data" / "grid" / "grid_hourly_2022.csv.gz"
    if not path.exists():
        pytest.skip("no recorded year beside this checkout: ../shared/data/grid/grid_hourly_2022.csv.gz")
    trace = ReplaySource(path).load()
    assert trace.zones == set(ZONES) and trace.skipped == {}
    assert len(trace.hours) == 8760
