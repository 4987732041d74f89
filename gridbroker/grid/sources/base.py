"""What every source of grid signals offers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from gridbroker.core.units import hour_floor
from gridbroker.grid.signal import Signal

SourceKind = Literal["modelled", "replayed", "live"]

_HOUR = timedelta(hours=1)


class Source(Protocol):
    @property
    def name(self) -> str:
        """What the `source` of its signals begins with, up to a `|`."""
        ...

    @property
    def kind(self) -> SourceKind: ...

    async def fetch(self, since: datetime, until: datetime) -> list[Signal]:
        """Signals of known zones for the hours that begin in [since, until], each at most once. What is missing is left out."""
        ...


def hours_between(since: datetime, until: datetime) -> Iterator[datetime]:
    """Each hour that begins in [since, until], in UTC."""
    hour = hour_floor(since.astimezone(UTC))
    if hour < since:
        hour += _HOUR
    while hour <= until:
        yield hour
        hour += _HOUR
