"""Reads a program's two pipes, or leaves them alone; another thread can cut a wait short."""

import contextlib
import os
import selectors
import time
from collections.abc import Mapping

from gridbroker.node_agent.output import LineSplitter

READ_BYTES = 64 * 1024
TICK_S = 0.2
SILENT_TICK_S = 0.02
"""When both pipes have ended the program is about to, or already gone."""
DRAIN_S = 1.0

Line = tuple[str, str]
"""(stream, text)"""


class Wake:
    """A wait that any thread may end."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def now(self) -> None:
        # A full pipe has woken the reader already; a closed one has nobody to wake.
        with contextlib.suppress(OSError):
            os.write(self._writer, b"!")

    def close(self) -> None:
        reader, writer = self.reader, self._writer
        # Numbers are given out again at once; a late `now` must not write into someone else's file.
        self.reader = self._writer = -1
        os.close(reader)
        os.close(writer)


class Console:
    """`pipes` are non-blocking descriptors by stream name; they stay the caller's to close."""

    def __init__(self, pipes: Mapping[str, int], wake: Wake) -> None:
        self._pipes = pipes
        self._splitters = {name: LineSplitter() for name in pipes}
        self._open = set(pipes)
        self._wake = wake
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake.reader, selectors.EVENT_READ, "")

    def read(self, *, hold_back: bool) -> list[Line]:
        """The lines that came, after at most a tick. Held back, the pipes are not read, so the program waits once they are full."""
        for name in self._open:
            self._attend(name, wanted=not hold_back)
        return self._read(TICK_S if self._open else SILENT_TICK_S)

    def drain(self) -> list[Line]:
        """What a dead program left in its pipes, and its last line even without an end."""
        lines: list[Line] = []
        deadline = time.monotonic() + DRAIN_S
        for name in self._open:
            self._attend(name, wanted=True)
        while self._open and time.monotonic() < deadline:
            lines += self._read(SILENT_TICK_S)
        self._selector.close()
        return lines + [(name, line) for name, splitter in self._splitters.items() for line in splitter.finish()]

    def _read(self, wait_s: float) -> list[Line]:
        lines: list[Line] = []
        for event, _ in self._selector.select(wait_s):
            try:
                chunk = os.read(event.fd, READ_BYTES)
            except BlockingIOError:
                continue
            if event.data == "":
                continue
            if not chunk:
                self._selector.unregister(event.fd)
                self._open.discard(event.data)
            lines += [(event.data, line) for line in self._splitters[event.data].feed(chunk)]
        return lines

    def _attend(self, name: str, *, wanted: bool) -> None:
        descriptor = self._pipes[name]
        is_attended = descriptor in self._selector.get_map()
        if wanted and not is_attended:
            self._selector.register(descriptor, selectors.EVENT_READ, name)
        elif is_attended and not wanted:
            self._selector.unregister(descriptor)
