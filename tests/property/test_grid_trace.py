"""Laws of the trace parser: what was written is read, and nothing but BadTrace comes out of anything else."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gridbroker.grid.signal import SignalKind
from gridbroker.grid.trace import COLUMNS, BadTrace, parse, signals
from gridbroker.grid.zone import ZONES

HEADER = ",".join(COLUMNS)
START = datetime(2022, 1, 1, tzinfo=UTC)
ROWS = st.dictionaries(
    st.tuples(st.sampled_from(list(ZONES)), st.integers(0, 9000)),
    st.tuples(st.none() | st.floats(0, 3000), st.none() | st.floats(-500, 5000)),
    min_size=1,
    max_size=20,
)
LIKELY = ["", "ES", "FR", "2022-01-01T00:00Z", "1", "-1", "nan", "EUR", "USD", '"', "x", "1e400", "\x00"]
CELL = st.sampled_from(LIKELY) | st.text(max_size=5)


@given(ROWS)
def test_what_was_written_is_read(rows):
    lines = [HEADER]
    for (zone, hour), (intensity, price) in rows.items():
        at = (START + timedelta(hours=hour)).isoformat()
        lines.append(f"{zone},{at},{'' if intensity is None else intensity},,{'' if price is None else price},EUR,s")
    trace = parse([f"{line}\r\n" for line in lines], "t", ZONES)
    found = {(signal.zone, signal.at, signal.kind): signal.value for hour in trace.hours for signal in signals(trace, hour, "r")}
    expected = {
        (zone, START + timedelta(hours=hour), kind): value
        for (zone, hour), (intensity, price) in rows.items()
        for kind, value in ((SignalKind.CARBON_INTENSITY, intensity), (SignalKind.PRICE, price))
        if value is not None
    }
    assert found == expected


@given(st.lists(st.lists(CELL, min_size=6, max_size=8).map(",".join), max_size=6), st.booleans())
def test_anything_else_is_a_bad_trace(rows, with_header):
    lines = [HEADER, *rows] if with_header else rows
    try:
        trace = parse([f"{line}\n" for line in lines], "t", ZONES)
    except BadTrace as error:
        assert error.detail.startswith("t")
    else:
        assert trace.zones <= set(ZONES) and trace.first_hour <= trace.last_hour
