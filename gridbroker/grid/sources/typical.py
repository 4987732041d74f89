"""The modelled typical day as a source: always there, never measured."""

from datetime import datetime
from typing import Literal

from gridbroker.grid.signal import Quality, Signal, SignalKind
from gridbroker.grid.sources.base import hours_between
from gridbroker.grid.typical import TYPICAL_DAYS, value


class TypicalSource:
    name = "typical"
    kind: Literal["modelled"] = "modelled"

    async def fetch(self, since: datetime, until: datetime) -> list[Signal]:
        return [
            Signal(zone=zone, kind=kind, at=hour, value=value(zone, kind, hour), source=self.name, quality=Quality.MODELLED)
            for hour in hours_between(since, until)
            for zone in TYPICAL_DAYS
            for kind in SignalKind
        ]
