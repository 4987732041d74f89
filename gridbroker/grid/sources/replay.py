"""A recorded trace as a source: hour by hour as the clock reaches it, so that nothing is known before its time."""

import asyncio
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, TextIO

from gridbroker.grid.signal import Signal
from gridbroker.grid.sources.base import hours_between
from gridbroker.grid.trace import BadTrace, Trace, parse, signals
from gridbroker.grid.zone import ZONES

MAX_LINE_LENGTH = 4_096
MAX_LINES = 2_000_000
"""Eleven zones for twenty years. Bounds what a small compressed file can unfold to."""
GZIP_MAGIC = b"\x1f\x8b"


class ReplaySource:
    """Reads `path` (CSV, or the same compressed with gzip) once, when it is first asked."""

    kind: Literal["replayed"] = "replayed"

    def __init__(self, path: Path) -> None:
        """Raises BadTrace when the file cannot be opened."""
        self._path = path
        self._trace: Trace | None = None
        self.name = f"replay:{re.sub(r'[^A-Za-z0-9._+-]', '_', path.name)}"
        with _opened(path):
            pass

    def load(self) -> Trace:
        """The whole trace: its zones, first and last hour, and what was skipped. Raises BadTrace."""
        if self._trace is None:
            with _opened(self._path) as file, _text(file) as text:
                self._trace = parse(_lines(text, self._path.name), self._path.name, ZONES)
        return self._trace

    async def fetch(self, since: datetime, until: datetime) -> list[Signal]:
        trace = self._trace or await asyncio.to_thread(self.load)
        return [signal for hour in hours_between(since, until) for signal in signals(trace, hour, self.name)]


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise BadTrace(f"The grid trace {path} cannot be opened: {error.strerror}.") from error


def _text(file: BinaryIO) -> TextIO:
    compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    content = gzip.GzipFile(fileobj=file) if compressed else file
    return io.TextIOWrapper(content, encoding="utf-8-sig", newline="")


def _lines(text: TextIO, name: str) -> Iterator[str]:
    """Lines of bounded length and number. Raises BadTrace; bytes that are not UTF-8 raise UnicodeDecodeError."""
    try:
        for number in range(1, MAX_LINES + 2):
            line = text.readline(MAX_LINE_LENGTH)
            if not line:
                return
            if len(line) == MAX_LINE_LENGTH:
                raise BadTrace(f"{name}, line {number}: longer than {MAX_LINE_LENGTH} characters.")
            yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadTrace(f"{name}: the compressed file is damaged ({error}).") from error
    except OSError as error:
        raise BadTrace(f"{name} cannot be read: {error.strerror}.") from error
    raise BadTrace(f"{name} has more than {MAX_LINES} lines.")
