from datetime import UTC, datetime, timedelta

import pytest

from gridbroker.metering.sample import MAX_AHEAD, BadSamples, check_batch, weaker
from gridbroker.node_agent.protocol import MAX_SAMPLES_PER_BATCH, EnergyKind, Sample, SampleBatch

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


def sample(**changes: object) -> Sample:
    values: dict[str, object] = {
        "seq": 1,
        "gpu_index": 0,
        "at": NOW.isoformat(),
        "energy_mj": 5,
        "power_w": 300.0,
        "utilisation": 0.5,
        "kind": EnergyKind.MEASURED,
    }
    return Sample(**(values | changes))  # type: ignore[arg-type]


def check(*samples: Sample, boot_id: str = "boot"):
    return check_batch(SampleBatch(boot_id=boot_id, samples=samples), gpu_count=2, now=NOW)


def test_good_samples_become_readings_in_utc():
    (reading,) = check(sample(at="2026-03-20T13:00:00+01:00", gpu_index=1))
    assert (reading.at, reading.gpu_index, reading.boot_id) == (NOW, 1, "boot")
    assert reading.at.utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seq": 0}, "seq"),
        ({"seq": 2**63}, "seq"),
        ({"gpu_index": 2}, "gpu_index"),
        ({"gpu_index": -1}, "gpu_index"),
        ({"energy_mj": -1}, "energy_mj"),
        ({"energy_mj": 2**63}, "energy_mj"),
        ({"power_w": -0.1}, "power_w"),
        ({"power_w": 1500.1}, "power_w"),
        ({"power_w": float("nan")}, "power_w"),
        ({"utilisation": 1.01}, "utilisation"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-03-20T12:00:00"}, "at"),
        ({"at": (NOW + MAX_AHEAD + timedelta(seconds=1)).isoformat()}, "at"),
        ({"at": (NOW - timedelta(days=91)).isoformat()}, "at"),
    ],
)
def test_each_impossible_value_is_named_by_its_place(changes: dict[str, object], field: str):
    with pytest.raises(BadSamples) as refused:
        check(sample(), sample(**changes))
    assert [error.pointer for error in refused.value.errors] == [f"/samples/1/{field}"]


def test_the_edges_are_still_good():
    check(
        sample(power_w=0, utilisation=0, energy_mj=0),
        sample(power_w=1500, utilisation=1, at=(NOW + MAX_AHEAD).isoformat()),
        sample(at=(NOW - timedelta(days=90)).isoformat()),
    )


def test_a_batch_names_its_boot_and_is_bounded():
    with pytest.raises(BadSamples) as refused:
        check(*[sample()] * (MAX_SAMPLES_PER_BATCH + 1), boot_id="")
    assert {error.pointer for error in refused.value.errors} == {"/boot_id", "/samples"}


def test_a_thousand_wrong_samples_get_a_short_answer():
    with pytest.raises(BadSamples) as refused:
        check(*[sample(power_w=-1)] * 1000)
    assert len(refused.value.errors) == 50
    assert "1000 values" in refused.value.detail


def test_an_hour_ahead_says_how_far():
    with pytest.raises(BadSamples) as refused:
        check(sample(at=(NOW + timedelta(hours=1)).isoformat()))
    assert "3600 s in the future" in refused.value.errors[0].detail


def test_the_weaker_kind_claims_less():
    assert weaker(EnergyKind.MEASURED, EnergyKind.ESTIMATED) is EnergyKind.ESTIMATED
    assert weaker(EnergyKind.MODELLED, EnergyKind.ESTIMATED) is EnergyKind.MODELLED
