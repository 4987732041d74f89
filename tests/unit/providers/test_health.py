from datetime import UTC, datetime, timedelta

import pytest

from gridbroker.core.errors import Invalid
from gridbroker.node_agent.protocol import GpuStatus, Heartbeat
from gridbroker.providers.health import (
    Check,
    CheckKind,
    ClockSkew,
    changed,
    clock_skew_s,
    examine,
    failing_kinds,
    mean_utilisation,
    next_health,
)
from gridbroker.providers.node import Health

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


def gpu(index: int, **values: float) -> GpuStatus:
    return GpuStatus(**{"index": index, "utilisation": 0.5, "power_w": 300.0, **values})  # type: ignore[arg-type]


def beat(*gpus: GpuStatus, spool_backlog: int = 0) -> Heartbeat:
    return Heartbeat(sent_at=NOW.isoformat(), gpus=gpus, spool_backlog=spool_backlog)


@pytest.mark.parametrize(
    ("current", "silent_s", "draining", "expected"),
    [
        (Health.PENDING, None, False, Health.PENDING),
        (Health.PENDING, None, True, Health.PENDING),
        (Health.PENDING, 10, False, Health.PENDING),
        (Health.HEALTHY, 10, False, Health.HEALTHY),
        (Health.HEALTHY, 90, False, Health.HEALTHY),
        (Health.HEALTHY, 90.1, False, Health.LOST),
        (Health.HEALTHY, 10, True, Health.DRAINING),
        (Health.DRAINING, 10, False, Health.HEALTHY),
        (Health.DRAINING, 91, True, Health.LOST),
        (Health.LOST, 10, False, Health.LOST),
    ],
)
def test_next_health(current, silent_s, draining, expected):
    assert next_health(current, silent_s=silent_s, draining=draining, lost_after_s=90) is expected


@pytest.mark.parametrize("skew_s", [-300, -1.5, 0, 4, 300])
def test_small_skew_is_measured(skew_s):
    assert clock_skew_s((NOW + timedelta(seconds=skew_s)).isoformat(), NOW) == skew_s


@pytest.mark.parametrize(("skew_s", "words"), [(3600, "3600 s ahead"), (-3600, "3600 s behind"), (300.5, "ahead")])
def test_a_wrong_clock_is_refused(skew_s, words):
    with pytest.raises(ClockSkew, match=words) as refused:
        clock_skew_s((NOW + timedelta(seconds=skew_s)).isoformat(), NOW)
    assert refused.value.code == "clock_skew"


def test_other_offsets_and_z_are_understood():
    assert clock_skew_s("2026-03-20T12:00:00Z", NOW) == 0
    assert clock_skew_s("2026-03-20T13:00:00+01:00", NOW) == 0


@pytest.mark.parametrize("text", ["", "now", "2026-03-20T12:00:00", "2026-13-01T00:00:00Z", "1" * 10_000])
def test_times_without_meaning_are_invalid(text):
    with pytest.raises(Invalid) as refused:
        clock_skew_s(text, NOW)
    assert refused.value.errors[0].pointer == "/sent_at"


def test_a_good_beat_passes_every_check():
    checks = examine(beat(gpu(0), gpu(1)), gpu_count=2, skew_s=0.2)
    assert {check.kind for check in checks} == set(CheckKind)
    assert failing_kinds(checks) == []


@pytest.mark.parametrize(
    ("given", "skew_s", "kind"),
    [
        (beat(gpu(0)), 0.0, CheckKind.GPUS),
        (beat(gpu(0), gpu(0)), 0.0, CheckKind.GPUS),
        (beat(gpu(0), gpu(1), gpu(2)), 0.0, CheckKind.GPUS),
        (beat(gpu(0), gpu(1, temperature_c=93.0)), 0.0, CheckKind.TEMPERATURE),
        (beat(gpu(0), gpu(1), spool_backlog=5000), 0.0, CheckKind.SPOOL),
        (beat(gpu(0), gpu(1)), -20.0, CheckKind.CLOCK),
    ],
)
def test_what_is_wrong_fails_its_check_alone(given, skew_s, kind):
    assert failing_kinds(examine(given, gpu_count=2, skew_s=skew_s)) == [kind]


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        (beat(gpu(0, utilisation=1.5)), "/gpus/0/utilisation"),
        (beat(gpu(0), gpu(1, power_w=-1.0)), "/gpus/1/power_w"),
        (beat(spool_backlog=-1), "/spool_backlog"),
        (beat(spool_backlog=2**40), "/spool_backlog"),
    ],
)
def test_impossible_values_are_refused(given, pointer):
    with pytest.raises(Invalid) as refused:
        examine(given, gpu_count=2, skew_s=0.0)
    assert refused.value.errors[0].pointer == pointer


def test_only_changed_outcomes_are_news():
    good, bad = Check(CheckKind.GPUS, True, ""), Check(CheckKind.SPOOL, False, "")
    assert changed([good, bad], None) == [good, bad]
    assert changed([good, bad], {"spool"}) == []
    assert changed([good, bad], {"gpus"}) == [good, bad]
    assert changed([good, bad], set()) == [bad]


def test_mean_utilisation():
    assert mean_utilisation([]) == 0
    assert mean_utilisation([gpu(0, utilisation=0.2), gpu(1, utilisation=0.6)]) == pytest.approx(0.4)
