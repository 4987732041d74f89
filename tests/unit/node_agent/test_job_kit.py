"""The checkpoint kit and the example program, as real processes without any agent."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gridbroker_job import COMMITTED, commit

TRAIN = [sys.executable, "-m", "gridbroker.examples.train_classifier", "--steps", "60"]


def test_a_commit_is_whole_or_not_there(tmp_path: Path) -> None:
    target = commit(tmp_path, 3, lambda folder: (folder / "w").write_text("abc"))
    assert json.loads((target / COMMITTED).read_text())["bytes"] == 3

    def fails(folder: Path) -> None:
        (folder / "w").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        commit(tmp_path, 4, fails)
    assert [path.parent.name for path in tmp_path.glob(f"*/{COMMITTED}")] == ["step-3"]
    assert (commit(tmp_path, 4, lambda folder: (folder / "w").write_text("whole")) / COMMITTED).is_file()


def test_training_learns_and_is_the_same_each_time() -> None:
    first, second = (train("--steps", "400") for _ in range(2))
    assert first == second
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", first)]
    assert losses[-1] < 0.25 * losses[0]
    assert float(re.findall(r"accuracy ([0-9.]+)", first)[-1]) > 0.95


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_anywhere_it_ends_with_the_same_weights(tmp_path: Path, number: signal.Signals) -> None:
    environment = {"GRIDBROKER_CHECKPOINT_DIR": str(tmp_path), "GRIDBROKER_JOB_ID": "w"}
    program = subprocess.Popen([*TRAIN, "--step-s", "0.02", "--checkpoint-every", "7"], env=environment, stdout=subprocess.PIPE)
    assert program.stdout is not None
    while not list(tmp_path.glob(f"*/{COMMITTED}")):
        time.sleep(0.01)
    program.send_signal(number)
    assert program.wait(10) == (75 if number is signal.SIGTERM else -9)
    program.stdout.close()
    newest = max(tmp_path.glob(f"*/{COMMITTED}"), key=lambda path: int(path.parent.name.removeprefix("step-"))).parent
    resumed = train(environment=environment | {"GRIDBROKER_RESUME_FROM": str(newest)})
    assert f"resuming from {newest.name.replace('-', ' ')} of 60" in resumed
    assert weights(resumed) == weights(train())


def test_asked_for_a_checkpoint_it_makes_one_and_goes_on(tmp_path: Path) -> None:
    environment = {"GRIDBROKER_CHECKPOINT_DIR": str(tmp_path)}
    command = [*TRAIN, "--step-s", "0.02", "--checkpoint-every", "0"]
    program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline()
    program.send_signal(signal.SIGUSR1)
    output = program.stdout.read()
    program.stdout.close()
    assert program.wait(10) == 0
    assert len(list(tmp_path.glob(f"*/{COMMITTED}"))) == 1
    assert "gridbroker:progress step=60 total=60" in output


def test_on_its_own_it_keeps_two_checkpoints_where_it_is_told(tmp_path: Path) -> None:
    output = train("--checkpoint-every", "10", "--checkpoint-dir", str(tmp_path))
    assert "gridbroker:" not in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-50", "step-60"]


def train(*options: str, environment: dict[str, str] | None = None) -> str:
    return subprocess.run([*TRAIN, *options], env=environment or {}, capture_output=True, text=True, check=True).stdout


def weights(output: str) -> str:
    return re.findall(r"weights sha256 (\w+)", output)[-1]
