"""When and where the demonstration plays: its clock, its zones, and the run that fits both."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from gridbroker.grid.sources.replay import ReplaySource
from gridbroker.grid.trace import BadTrace

FACTOR = 1200
"""Grid seconds per wall second: an hour in three seconds."""
LEAD = timedelta(seconds=8)
"""Wall time kept for starting up, so that the workload is submitted at the chosen hour."""
RUN_HOURS = 12
STEPS = 360
STEP_S = RUN_HOURS * 3600 / STEPS / FACTOR
"""Least wall seconds per training step, so that all of them take RUN_HOURS of grid time."""
CHECKPOINT_EVERY = 20
START_HOUR = 12
PREFERRED_ZONES = ("ES", "GB", "DE")
HISTORY = timedelta(hours=72)
"""What forecasts want to have seen of a trace before the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    grid_kind: str
    """`modelled` or `replayed`."""
    grid_source: str
    """As the setting of that name."""
    zones: tuple[str, ...]
    starts_at: datetime
    """Grid time of the submission."""


def choose(grid_trace: Path | None, now: datetime) -> Stage:
    """The modelled day that repeats, begun today at noon UTC; or a trace, begun at noon of its fourth day. Raises BadTrace."""
    if grid_trace is None:
        noon = datetime.combine(now.date(), time(START_HOUR), UTC)
        return Stage(grid_kind="modelled", grid_source="typical", zones=PREFERRED_ZONES, starts_at=noon)
    trace = ReplaySource(grid_trace.absolute()).load()
    starts_at = datetime.combine((trace.first_hour + HISTORY).date(), time(START_HOUR), UTC)
    if trace.last_hour < starts_at + timedelta(hours=RUN_HOURS + 2):
        raise BadTrace(f"{grid_trace} is too short: it needs three days of history, then {RUN_HOURS + 2} hours from noon on.")
    ordered = [zone for zone in PREFERRED_ZONES if zone in trace.zones]
    zones = (ordered + sorted(set(trace.zones) - set(ordered)))[:3]
    if len(zones) < 2:
        raise BadTrace(f"{grid_trace} has only {', '.join(zones) or 'no zone'} that we know; a choice needs two.")
    return Stage(grid_kind="replayed", grid_source=f"replay:{grid_trace.absolute()}", zones=tuple(zones), starts_at=starts_at)
