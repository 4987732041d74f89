"""The rules by which processes are started, recognised and started again."""

from pathlib import Path

import pytest

from gridbroker.app.child import BACKGROUND_NICENESS, MAX_LOG_BYTES, Program, programs, rotate
from gridbroker.app.embedded.binaries import newest_first
from gridbroker.app.embedded.postgres import NO_PROCESS, is_passing, is_ready, recorded_pid, without_pid
from gridbroker.app.supervisor import MAX_BACKOFF_S, backoff_s

PID_FILE = "4711\n/data/cluster\n1792000000\n20011\n\n127.0.0.1\n  9437186\t3\nready   \n"


def test_a_pid_file_is_ready_only_for_the_process_it_names():
    assert is_ready(PID_FILE, 4711)
    assert not is_ready(PID_FILE, 4712), "left by a killed predecessor"
    assert not is_ready(PID_FILE.replace("ready   ", "starting"), 4711)
    assert not is_ready("4711\n/data/cluster\n", 4711), "written half"
    assert not is_ready("", 4711)


@pytest.mark.parametrize(("text", "pid"), [(PID_FILE, 4711), ("", None), ("garbage\n", None), ("-4711\n", None), ("0\n", None)])
def test_recorded_pid(text: str, pid: int | None):
    assert recorded_pid(text) == pid


def test_a_pid_file_loses_its_pid_and_nothing_else():
    changed = without_pid(PID_FILE)
    assert recorded_pid(changed) == NO_PROCESS
    assert changed.splitlines()[1:] == PID_FILE.splitlines()[1:]
    assert len(changed) >= len(PID_FILE)


def test_only_what_passes_is_tried_again():
    assert is_passing('LOG:  could not bind IPv4 address "127.0.0.1": Address already in use')
    assert is_passing("FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use")
    assert not is_passing("FATAL:  data directory has wrong ownership")


def test_backoff_starts_at_once_doubles_and_is_bounded():
    waits = [backoff_s(failures) for failures in range(40)]
    assert waits[:4] == [0.0, 0.1, 0.2, 0.4]
    assert waits == sorted(waits)
    assert waits[-1] == MAX_BACKOFF_S


def test_workers_are_numbered_and_step_back():
    planned = programs({"api": ["/a"], "worker": ["/w"], "scheduler": ["/s"]}, workers=3)
    assert planned == [
        Program("api", ("/a",)),
        Program("worker", ("/w",), BACKGROUND_NICENESS),
        Program("worker-2", ("/w",), BACKGROUND_NICENESS),
        Program("worker-3", ("/w",), BACKGROUND_NICENESS),
        Program("scheduler", ("/s",), BACKGROUND_NICENESS),
    ]
    assert [program.name for program in programs({"api": ["/a"], "worker": ["/w"]}, workers=0)] == ["api"]


def test_the_newest_system_postgres_comes_first():
    folders = [Path("/p") / name for name in ("9.6", "15", "common", "17", "16")]
    assert [folder.name for folder in newest_first(folders)] == ["17", "16", "15", "9.6"]


def test_a_large_log_is_put_aside_and_a_small_one_is_kept(tmp_path: Path):
    large, small = tmp_path / "api.log", tmp_path / "worker.log"
    with large.open("wb") as file:
        file.truncate(MAX_LOG_BYTES + 1)
    small.write_text("kept")
    rotate(large)
    rotate(small)
    rotate(tmp_path / "absent.log")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["api.log.1", "worker.log"]
