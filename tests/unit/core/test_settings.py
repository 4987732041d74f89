"""Settings: every wrong variable is named, and what one process loads another loads too."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gridbroker.core.clock import SimulatedClock, SystemClock
from gridbroker.core.settings import BadSettings, Settings, load

WHOLE = Settings(
    data_dir=Path("/data"),
    database_url="postgresql://u:p@h/db",
    redis_url="redis://h:6379/0",
    postgres_bin=Path("/opt/pg/bin"),
    api_port=9000,
    sweep_interval_s=0.25,
    grid_source="replay:/x.csv",
    log_json=False,
    clock_factor=60,
    clock_wall_epoch=datetime(2026, 3, 20, 12, tzinfo=UTC),
    clock_grid_epoch=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.mark.parametrize("settings", [WHOLE, Settings(data_dir=Path("/data"))])
def test_the_environment_of_a_child_gives_the_same_settings(settings):
    environment = settings.as_environment()
    assert all(name.startswith("GRIDBROKER_") and isinstance(value, str) for name, value in environment.items())
    assert load(environment) == settings


def test_an_empty_environment_has_defaults_and_empty_variables_count_as_unset():
    assert load({"GRIDBROKER_DATABASE_URL": "", "GRIDBROKER_API_PORT": ""}) == load({})
    assert load({}).database_url is None
    assert load({}, api_port=1).api_port == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("API_PORT", "http"),
        ("API_PORT", "-1"),
        ("API_PORT", "65536"),
        ("API_PORT", "80.5"),
        ("API_WORKERS", "0"),
        ("WORKER_THREADS", "-4"),
        ("SWEEP_INTERVAL_S", "0"),
        ("SWEEP_INTERVAL_S", "nan"),
        ("SWEEP_INTERVAL_S", "inf"),
        ("NODE_LOST_AFTER_S", "-1"),
        ("MAX_BODY_BYTES", "0"),
        ("RATE_LIMIT_PER_MINUTE", "0"),
        ("LOG_JSON", "maybe"),
        ("CLOCK_FACTOR", "0"),
        ("CLOCK_FACTOR", "1.5"),
        ("CLOCK_WALL_EPOCH", "yesterday"),
        ("CLOCK_GRID_EPOCH", "2026-01-01T00:00:00"),
    ],
)
def test_a_wrong_value_is_named(name, text):
    with pytest.raises(BadSettings) as raised:
        load({f"GRIDBROKER_{name}": text})
    assert [error.pointer for error in raised.value.errors] == [f"GRIDBROKER_{name}"]
    assert f"GRIDBROKER_{name}" in str(raised.value)


def test_all_wrong_values_are_named_at_once():
    with pytest.raises(BadSettings) as raised:
        load({"GRIDBROKER_API_PORT": "x", "GRIDBROKER_RATE_LIMIT_PER_MINUTE": "0", "GRIDBROKER_LOG_JSON": "2"})
    assert {error.pointer for error in raised.value.errors} == {
        "GRIDBROKER_API_PORT",
        "GRIDBROKER_RATE_LIMIT_PER_MINUTE",
        "GRIDBROKER_LOG_JSON",
    }


def test_the_clock_is_real_unless_an_epoch_is_given():
    assert load({}).clock() == SystemClock()
    assert WHOLE.clock() == SimulatedClock(WHOLE.clock_wall_epoch, WHOLE.clock_grid_epoch, 60)
    with pytest.raises(BadSettings, match="CLOCK_WALL_EPOCH"):
        Settings(data_dir=Path("/d"), clock_factor=2).clock()


def test_places_below_the_data_folder_and_the_issuer():
    settings = Settings(data_dir=Path("/data"))
    assert settings.blob_dir == Path("/data/blobs")
    shared = Settings(data_dir=Path("/data"), shared_dir=Path("/nfs"))
    assert (shared.blob_dir, shared.signing_key_path) == (Path("/nfs/blobs"), Path("/nfs/keys/receipts.ed25519"))
    assert settings.issuer_url == "http://127.0.0.1:8000"
    assert Settings(data_dir=Path("/d"), public_url="https://broker.example").issuer_url == "https://broker.example"
