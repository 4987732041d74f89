"""Where time and randomness enter the program.

Two times exist. *Grid time* (`now`) is what intensity, energy, cost, dwell and every domain row speak of. *Wall time* (`wall`)
drives the machinery: claims, sweeps, timeouts, token expiry. They differ only under a simulated clock, which runs grid time
faster by a whole factor, so that a day of grid weather fits a minute of demonstration.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Protocol, runtime_checkable
from uuid import UUID

from gridbroker.core import ids

_RANDOM_BITS = 74


@runtime_checkable
class Clock(Protocol):
    @property
    def factor(self) -> int:
        """Seconds of grid time per second of wall time; 1 means real time."""
        ...

    def now(self) -> datetime: ...

    def wall(self) -> datetime: ...

    def new_id(self) -> UUID: ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    factor: int = 1

    def now(self) -> datetime:
        return datetime.now(UTC)

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def new_id(self) -> UUID:
        return ids.uuid7(self.wall(), secrets.randbits(_RANDOM_BITS))


@dataclass(frozen=True, slots=True)
class SimulatedClock:
    """Grid time that reads `grid_epoch` at `wall_epoch` and runs `factor` times as fast as the wall."""

    wall_epoch: datetime
    grid_epoch: datetime
    factor: int

    def now(self) -> datetime:
        return self.grid_epoch + (self.wall() - self.wall_epoch) * self.factor

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def new_id(self) -> UUID:
        return ids.uuid7(self.wall(), secrets.randbits(_RANDOM_BITS))


class FakeClock:
    """A clock that stands still until told to move, for tests and simulations."""

    factor = 1

    def __init__(self, at: datetime, seed: int = 0) -> None:
        self._at = at
        self._random = Random(seed)

    def now(self) -> datetime:
        return self._at

    def wall(self) -> datetime:
        return self._at

    def new_id(self) -> UUID:
        return ids.uuid7(self._at, self._random.getrandbits(_RANDOM_BITS))

    def advance(self, by: timedelta) -> None:
        self._at += by
