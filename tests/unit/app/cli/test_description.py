"""Flags and files become what the API takes."""

import json
from pathlib import Path

import msgspec
import pytest

from gridbroker.app.cli.description import BadDescription, describe
from gridbroker.app.cli.submit import _FIELD_OF_FLAG
from gridbroker.broker.routes.bodies import CheckpointTerms, WorkloadBody

FLAGS = {"name": "x", "budget": "12.50", "currency": "EUR", "command": ["python", "train.py"]}


def test_flags_alone_describe_a_workload():
    body = describe(None, FLAGS | {"expected_hours": 2.0, "environment": ["A=1", "B=x=y"], "image": None, "green_only": False})
    assert body == {
        "name": "x",
        "budget": {"amount": "12.50", "currency": "EUR"},
        "command": ["python", "train.py"],
        "expected_hours": 2.0,
        "environment": {"A": "1", "B": "x=y"},
    }
    assert msgspec.convert(body, WorkloadBody).name == "x"


def test_every_flag_is_a_field_of_the_api():
    fields = {field.name for field in msgspec.structs.fields(WorkloadBody)}
    terms = {field.name for field in msgspec.structs.fields(CheckpointTerms)}
    assert set(_FIELD_OF_FLAG.values()) - {"currency"} == fields | terms


@pytest.mark.parametrize("flag", [{"checkpoint": True}, {"signal": True}, {"interval_s": 60}])
def test_any_checkpoint_flag_makes_a_checkpoint_block(flag: dict):
    assert describe(None, FLAGS | flag)["checkpoint"] == {name: value for name, value in flag.items() if name != "checkpoint"}
    assert "checkpoint" not in describe(None, FLAGS)


def test_a_json_and_a_toml_file_say_the_same(tmp_path: Path):
    wanted = {
        "name": "x",
        "budget": {"amount": "5", "currency": "EUR"},
        "command": ["a"],
        "deadline_at": "2027-03-01T18:00:00+00:00",
    }
    (tmp_path / "w.json").write_text(json.dumps(wanted))
    (tmp_path / "w.toml").write_text(
        'name = "x"\ncommand = ["a"]\ndeadline_at = 2027-03-01T19:00:00+01:00\nbudget = { amount = "5", currency = "EUR" }\n'
    )
    assert describe(tmp_path / "w.json", {}) == describe(tmp_path / "w.toml", {}) == wanted


def test_flags_win_over_the_file(tmp_path: Path):
    (tmp_path / "w.json").write_text(json.dumps({"name": "x", "budget": {"amount": "5", "currency": "EUR"}, "command": ["a"]}))
    body = describe(tmp_path / "w.json", {"budget": "7", "gpus": 2})
    assert (body["budget"]["amount"], body["gpus"], body["command"]) == ("7", 2, ["a"])


@pytest.mark.parametrize("content", ["{", "[1]", '"x"', "\x00"])
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, content: str):
    (tmp_path / "w.json").write_text(content)
    with pytest.raises(BadDescription, match=r"w\.json"):
        describe(tmp_path / "w.json", {})


def test_everything_that_is_missing_is_named():
    with pytest.raises(BadDescription) as caught:
        describe(None, {})
    assert [one.pointer for one in caught.value.errors] == ["/name", "/budget", "/command"]


def test_a_bad_variable_is_refused_without_repeating_its_value():
    with pytest.raises(BadDescription) as caught:
        describe(None, FLAGS | {"environment": ["=hunter2"]})
    assert "hunter2" not in str(caught.value)
