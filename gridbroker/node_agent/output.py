"""From a program's raw output to log lines and progress. Pure."""

import re
from dataclasses import dataclass, field

from gridbroker.node_agent.protocol import MAX_LOG_LINE_CHARS

_CUT = " ... [cut]"
_MAX_LINE_BYTES = 4 * MAX_LOG_LINE_CHARS
"""UTF-8 needs at most four bytes per character."""
_PROGRESS = re.compile(r"gridbroker:progress step=(\d{1,15})(?: total=(\d{1,15}))?")


@dataclass(slots=True)
class LineSplitter:
    """Cuts a byte stream into lines, at carriage returns too. Holds at most one line's worth, however long the line is."""

    _rest: bytearray = field(default_factory=bytearray)
    _after_return: bool = False

    def feed(self, chunk: bytes) -> list[str]:
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_return = chunk.endswith(b"\r")
        *ended, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        lines: list[str] = []
        for part in ended:
            self._keep(part)
            lines.append(to_text(bytes(self._rest)))
            self._rest.clear()
        self._keep(rest)
        return lines

    def finish(self) -> list[str]:
        """The last line, when it had no end."""
        lines = [to_text(bytes(self._rest))] if self._rest else []
        self._rest.clear()
        return lines

    def _keep(self, part: bytes) -> None:
        # One byte more than can be shown, so that the cut is seen.
        self._rest += part[: max(0, _MAX_LINE_BYTES + 1 - len(self._rest))]


def to_text(line: bytes) -> str:
    """At most MAX_LOG_LINE_CHARS characters; what is no UTF-8, and NUL, which PostgreSQL cannot store, becomes U+FFFD."""
    text = line.decode("utf-8", errors="replace").replace("\0", "\ufffd")
    return text if len(text) <= MAX_LOG_LINE_CHARS else text[: MAX_LOG_LINE_CHARS - len(_CUT)] + _CUT


def parse_progress(line: str) -> tuple[int, int | None] | None:
    """(step, total) of a progress line, `gridbroker:progress step=12 total=400`; None for any other line."""
    match = _PROGRESS.fullmatch(line)
    return None if match is None else (int(match[1]), None if match[2] is None else int(match[2]))
