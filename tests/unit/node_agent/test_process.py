"""The process backend on real processes: exit codes, limits, and the handshake that keeps a program from starting twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gridbroker.node_agent.backends import process
from gridbroker.node_agent.backends.process import CannotStart, Limits, RunningProgram

ENVIRONMENT = {"PATH": os.defpath}


def start(folder: Path, *command: str, limits: Limits | None = None) -> RunningProgram:
    folder.mkdir(exist_ok=True)
    return process.start(folder / "run-1", command, ENVIRONMENT, folder, limits or Limits())


def end(program: RunningProgram) -> int:
    deadline = time.monotonic() + 10
    while program.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return program.end()


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 75", 75), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_exit_codes_are_those_of_a_shell(tmp_path: Path, script: str, code: int) -> None:
    assert end(start(tmp_path, "sh", "-c", script)) == code


def test_limits_bind_the_program_but_not_its_keeper(tmp_path: Path) -> None:
    hungry = start(tmp_path / "a", sys.executable, "-c", "bytearray(2 << 30)", limits=Limits(memory_mib=512))
    busy = start(tmp_path / "b", "sh", "-c", "while :; do :; done", limits=Limits(cpu_s=1))
    assert end(hungry) == 1
    assert end(busy) == 128 + signal.SIGXCPU


def test_what_a_program_leaves_behind_dies_with_it(tmp_path: Path) -> None:
    program = start(tmp_path, "sh", "-c", "sleep 60 & echo $!")
    end_code = end(program)
    assert end_code == 0
    left = [stat for stat in process._processes() if stat.group == program._group and stat.state != "Z"]
    deadline = time.monotonic() + 5
    while left and time.monotonic() < deadline:
        left = [stat for stat in process._processes() if stat.group == program._group and stat.state != "Z"]
    assert left == []


def test_a_voided_run_never_starts_and_an_ended_one_is_known(tmp_path: Path) -> None:
    run_dir, witness = tmp_path / "run-1", tmp_path / "witness"
    assert process.recover(run_dir) is None
    # The shell of a dead agent, arriving too late.
    late = subprocess.run(
        ["/bin/sh", "-c", process._SHELL, "x", run_dir, "0", "0", "touch", witness], capture_output=True, check=False
    )
    assert late.returncode == 125
    assert not witness.exists()
    assert process.recover(run_dir) is None
    other = tmp_path / "other"
    assert end(process.start(other, ["sh", "-c", "exit 9"], ENVIRONMENT, tmp_path, Limits())) == 9
    recovered = process.recover(other)
    assert recovered is not None
    assert not recovered.is_alive()
    assert recovered.end() == 9


@pytest.mark.parametrize("command", [[], [""], ["no-such-program"], ["sh", "a\0b"]])
def test_what_cannot_run_is_refused_before_anything_is_made(tmp_path: Path, command: list[str]) -> None:
    with pytest.raises(CannotStart):
        process.start(tmp_path / "run", command, ENVIRONMENT, tmp_path, Limits())
    assert not (tmp_path / "run").exists()
