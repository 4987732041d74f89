"""The worked example: a twelve-hour run from noon, Spain clean until the sun sets, Britain clean at night."""

from dataclasses import replace
from datetime import datetime, timedelta

from gridbroker.broker.migration import Assessment, assess
from gridbroker.broker.policy import DEFAULT_POLICY
from gridbroker.core.units import hour_floor
from gridbroker.grid.signal import Outlook
from gridbroker.grid.typical import TYPICAL_DAYS
from tests.unit.broker.facts import CATALOGUE, NOON, node, outlook, routed, running_on, workload

HOUR = timedelta(hours=1)
STEP = timedelta(minutes=15)
NODES = (node("es", "ES"), node("gb", "GB"))
SPEC = workload(expected_hours=12.0, checkpoint_mib=64, home_zone="DE")


DRAWN = {
    "ES": [65 if 6 <= hour < 18 else 210 for hour in range(24)],
    "GB": [110 if hour >= 18 or hour < 6 else 220 for hour in range(24)],
}
MODELLED = {zone: list(TYPICAL_DAYS[zone].intensity_g_per_kwh) for zone in ("ES", "GB")}

Day = dict[str, list[int]]


def outlooks_at(now: datetime, day: Day = DRAWN) -> dict[str, Outlook]:
    """Both zones as a perfect forecast of the day sees them from the hour of `now`."""
    from_hour = hour_floor(now)
    hours = [(from_hour + number * HOUR).hour for number in range(48)]
    return {zone: outlook(zone, [day[zone][hour] for hour in hours], from_hour=from_hour) for zone in day}


def live_through(day: Day) -> list[tuple[datetime, Assessment]]:
    """Each review that moved, from start to end; time lost in a move is added to the run."""
    chosen = routed(SPEC, NODES, outlooks_at(NOON, day)).chosen
    assert chosen is not None and chosen.zone == "ES"
    here, now, started_at, remaining_h, moves = NODES[0], NOON, NOON, 12.0, []
    while remaining_h > 0:
        now, remaining_h = now + STEP, remaining_h - STEP / HOUR
        facts = running_on(here, SPEC, started_at=started_at, remaining_hours=remaining_h, moves=len(moves))
        route = routed(SPEC, NODES, outlooks_at(now, day), now=now, remaining_share=remaining_h / 12)
        one = assess(facts, route, outlooks_at(now, day), CATALOGUE, DEFAULT_POLICY, now)
        if one.target:
            moves.append((now, one))
            here = next(each for each in NODES if each.node_id == one.target.node_id)
            assert one.best is not None
            now = started_at = now + one.best.cost.time.downtime_h * HOUR
            remaining_h += one.best.cost.time.lost_work_h
    return moves


def test_it_moves_once_at_sunset_and_stays():
    [(moved_at, one)] = live_through(DRAWN)
    assert moved_at == NOON.replace(hour=18)
    assert one.target is not None and one.target.zone == "GB"
    assert one.best is not None
    assert one.best.stay.emissions_mg > one.best.go.emissions_mg + one.best.cost.total.emissions_mg


def test_on_the_modelled_day_too():
    [(moved_at, one)] = live_through(MODELLED)
    assert NOON.replace(hour=18) <= moved_at <= NOON.replace(hour=20)
    assert one.target is not None and one.target.zone == "GB"


def test_a_large_checkpoint_stays():
    """300 GB would cross the network twice in 80 minutes and cost EUR 48 of egress."""
    now = NOON.replace(hour=18)
    facts = running_on(NODES[0], SPEC, started_at=NOON - 12 * HOUR, remaining_hours=6.0, checkpoint_bytes=300 * 10**9)
    route = routed(SPEC, NODES, outlooks_at(now), now=now, remaining_share=0.5)
    one = assess(facts, route, outlooks_at(now), CATALOGUE, DEFAULT_POLICY, now)
    assert (one.alarm, one.target) == (True, None)


def test_where_it_starts_beats_when_it_moves():
    """Placed at noon in the cleaner zone even though it will leave: the planned mean decides, no future move is counted on."""
    chosen = routed(SPEC, NODES, outlooks_at(NOON)).chosen
    assert chosen is not None
    assert chosen.run.mean_intensity_g_per_kwh == (6 * 65 + 6 * 210) / 12
    shorter = replace(SPEC, expected_hours=6.0)
    chosen = routed(shorter, NODES, outlooks_at(NOON)).chosen
    assert chosen is not None
    assert chosen.run.mean_intensity_g_per_kwh == 65
