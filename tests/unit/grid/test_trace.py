"""The trace format: tolerant of what is missing, strict about everything else."""

from datetime import UTC, datetime, timedelta

import pytest

from gridbroker.grid.signal import Quality, SignalKind
from gridbroker.grid.trace import COLUMNS, EUR_PER, BadTrace, parse, signals
from gridbroker.grid.zone import ZONES

HEADER = ",".join(COLUMNS)
GOOD = "ES,2022-06-01T12:00Z,65.5,81.2,3.5,EUR,a|b"
NOON = datetime(2022, 6, 1, 12, tzinfo=UTC)


def trace(*rows: str, header: str = HEADER):
    return parse([f"{line}\n" for line in (header, *rows)], "t.csv", ZONES)


def refusal(*rows: str, header: str = HEADER) -> str:
    with pytest.raises(BadTrace) as refused:
        trace(*rows, header=header)
    assert refused.value.code == "bad_trace"
    return refused.value.detail


def test_a_row_becomes_three_signals():
    found = {signal.kind: signal for signal in signals(trace(GOOD), NOON, "replay:t.csv")}
    assert {kind: signal.value for kind, signal in found.items()} == {
        SignalKind.CARBON_INTENSITY: 65.5,
        SignalKind.RENEWABLE_SHARE: pytest.approx(0.812),
        SignalKind.PRICE: 3.5,
    }
    assert {(signal.source, signal.quality, signal.at) for signal in found.values()} == {
        ("replay:t.csv|a|b", Quality.MEASURED, NOON)
    }


def test_an_empty_cell_is_missing_not_zero():
    empty = trace("ES,2022-06-01T12:00Z,,,,,", "FR,2022-06-01T12:00Z,0,,-12.5,EUR,x")
    found = [(signal.zone, signal.kind, signal.value) for signal in signals(empty, NOON, "r")]
    assert found == [("FR", SignalKind.CARBON_INTENSITY, 0.0), ("FR", SignalKind.PRICE, -12.5)]


def test_dollars_are_converted_and_called_estimated():
    (price,) = signals(trace("US-CAL-CISO,2022-06-01T12:00Z,,,100,USD,|oasis"), NOON, "r")
    assert price.value == pytest.approx(100 * EUR_PER["USD"])
    assert price.quality is Quality.ESTIMATED
    assert price.source == "r||oasis (USD at 0.92 EUR)"


def test_rows_and_columns_may_come_in_any_order_with_others_beside_them():
    shuffled = trace(
        "b,note,EUR,3.5,81.2,65.5,2022-06-01T14:00:00+02:00,ES",
        "b,note,EUR,1,1,1,2022-06-01T10:00Z,ES",
        header="source,remark,currency,price_eur_or_usd_per_mwh,renewable_pct,carbon_intensity_g_per_kwh,timestamp_utc,zone",
    )
    assert (shuffled.first_hour, shuffled.last_hour) == (NOON - timedelta(hours=2), NOON)
    assert next(signals(shuffled, NOON, "r")).value == 65.5


def test_unknown_zones_are_left_out_and_counted():
    found = trace(GOOD, "SE,2022-06-01T12:00Z,1,1,1,EUR,s", "SE,2022-06-01T13:00Z,1,1,1,EUR,s")
    assert found.zones == {"ES"} and found.skipped == {"SE": 2}


def test_blank_lines_are_no_rows():
    assert trace(GOOD, "", "FR,2022-06-01T12:00Z,30,,,,s").zones == {"ES", "FR"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("ES,2022-06-01T12:00Z,abc,,,,s", "carbon_intensity_g_per_kwh 'abc' is not a number"),
        ("ES,2022-06-01T12:00Z,nan,,,,s", "is not a number"),
        ("ES,2022-06-01T12:00Z,inf,,,,s", "is not a number"),
        ("ES,2022-06-01T12:00Z,1_0,,,,s", "is not a number"),
        ("ES,2022-06-01T12:00Z,٣,,,,s", "is not a number"),
        ("ES,2022-06-01T12:00Z,-1,,,,s", "is not between 0 and 3000"),
        ("ES,2022-06-01T12:00Z,65000,,,,s", "is not between 0 and 3000"),
        ("ES,2022-06-01T12:00Z,,101,,,s", "renewable_pct 101 is not between 0 and 100"),
        ("ES,2022-06-01T12:00Z,,,1e9,EUR,s", "is not between"),
        ("ES,2022-06-01T12:00Z,,,5,GBP,s", "currency 'GBP' is not one of EUR, USD"),
        ("ES,2022-06-01T12:00Z,,,5,,s", "currency '' is not one of"),
        ("ES,2022-06-01T12:00,1,,,,s", "says no offset"),
        ("ES,2022-06-01T12:30Z,1,,,,s", "not the beginning of an hour"),
        ("ES,01/06/2022 12:00,1,,,,s", "is not an ISO 8601 time"),
        ("ES,0001-01-01T00:00+05:00,1,,,,s", "out of range"),
        ("ES,,1,,,,s", "is not an ISO 8601 time"),
        ("ES,2022-06-01T12:00Z,1,,,", "6 cells, but the header has 7"),
        ("ES,2022-06-01T12:00Z,1,,,,s,more", "8 cells"),
        (f"ES,2022-06-01T12:00Z,1,,,,{'s' * 201}", "at most 200 characters"),
        ("ES,2022-06-01T12:00Z,1,,,,a\x1b[31m", "plain text"),
        ('ES,2022-06-01T12:00Z,1,,,,"open', "unexpected end of data"),
        (GOOD, "a second row for ES at 2022-06-01T12:00Z"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(row, says):
    detail = refusal(GOOD, row)
    assert detail.startswith("t.csv, line 3:") and says in detail, detail


@pytest.mark.parametrize("header", ["", "hello", "zone,timestamp_utc", "{", HEADER + ",zone", HEADER.upper()])
def test_what_is_no_trace_is_told_what_one_looks_like(header):
    assert HEADER in refusal(GOOD, header=header)


def test_no_lines_at_all_is_no_trace():
    with pytest.raises(BadTrace, match="not a grid trace"):
        parse([], "t.csv", ZONES)


def test_a_trace_without_known_zones_is_refused():
    assert "SE" in refusal("SE,2022-06-01T12:00Z,1,1,1,EUR,s")
    assert "no rows of zones" in refusal()
