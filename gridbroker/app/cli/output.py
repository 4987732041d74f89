"""What a command says: data to stdout, words to stderr. Rich on a terminal; plain text, without a single escape code, when not."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from gridbroker_sdk import Listing

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What could move a cursor or turn the direction of text; names and log lines come from others."""


def clean(text: object) -> str:
    """One line that a terminal shows and does not obey."""
    return _CONTROL.sub("?", str(text))


def say(text: str = "") -> None:
    """Words for a person."""
    print("\n".join(map(clean, text.split("\n"))), file=sys.stderr, flush=True)


def put(text: str = "") -> None:
    """One line of data."""
    print(clean(text), flush=True)


def put_json(document: Any) -> None:
    """Data as one JSON document on one line."""
    print(json.dumps(document, separators=(",", ":"), default=str), flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, clock_factor: int = 1) -> None:
    """Rows under headings. Simulated time is said above, because it scales what stands below."""
    cells = [["-" if cell is None or cell == "" else clean(cell) for cell in row] for row in rows]
    if clock_factor > 1:
        put(simulated(clock_factor))
    if is_terminal(sys.stdout):
        _rich_table(columns, cells)
    else:
        _plain_table(columns, cells)


def listing(
    found: "Listing",
    columns: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[object]],
    *,
    as_json: bool,
    hint: str,
    clock_factor: int = 1,
) -> None:
    """A list as JSON or as a table; `hint` says what to do when it is empty."""
    if as_json:
        put_listing(found)
    elif not found.data:
        say(hint)
    else:
        factor = max([clock_factor, *(entry.get("clock_factor", 1) for entry in found.data)])
        table(columns, map(row, found.data), clock_factor=factor)
        if found.truncated:
            say(f"There are more than {len(found.data)}; ask for them with --limit.")


def put_listing(found: "Listing") -> None:
    put_json({"data": found.data, "truncated": found.truncated})


def fields(pairs: Mapping[str, object], *, clock_factor: int = 1) -> None:
    """One thing, a line for each of its properties; None is left out."""
    shown = {name: value for name, value in pairs.items() if value is not None}
    width = max(map(len, shown), default=0)
    if clock_factor > 1:
        put(simulated(clock_factor))
    for name, value in shown.items():
        put(f"{name:{width}}  {value}")


def simulated(clock_factor: int) -> str:
    return f"simulated time x{clock_factor}: energy, cost and dwell are scaled by it"


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty()


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [[column.upper() for column in columns], *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), flush=True)


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only a terminal needs it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold", no_wrap=column == "id")
    for row in rows:
        shown.add_row(*map(Text, row))
    Console().print(shown)
