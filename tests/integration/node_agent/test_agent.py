"""The agent as a process of its own against a broker double: programs really run, servers really go away, agents really die."""

import hashlib
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from gridbroker.node_agent.protocol import CheckpointFile, manifest_bytes

from .broker_double import IDLE_W, KEY, MAX_W, Broker, BrokerServer
from .conftest import AgentProcess

TRAIN = ["python", "-m", "gridbroker.examples.train_classifier"]


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_a_program_runs_to_its_end_and_everything_is_delivered_before_its_exit(agent: AgentProcess, broker: Broker) -> None:
    broker.order("p1", shell("echo one; echo two >&2; printf 'no end'"), load_hint=0.5)
    agent.start()
    exited = broker.wait(lambda: broker.exited("p1"))
    assert (exited["exit_code"], broker.kinds("p1")) == (0, ["running", "exited"])
    assert broker.texts("p1") == ["one", "no end"]
    assert broker.texts("p1", "stderr") == ["two"]
    assert [line["seq"] for line in broker.logs["p1"]] == [1, 2, 3]
    placed = [kind for placement, kind in broker.arrivals if placement == "p1"]
    assert placed[-1] == "exited"
    broker.unlist("p1")
    folder = agent.state_dir / "placements"
    _poll(lambda: not any(folder.iterdir()))
    assert agent.terminate() == 0


def test_credentials_are_private_and_a_second_agent_is_refused(agent: AgentProcess, broker: Broker) -> None:
    agent.start()
    broker.wait(lambda: broker.heartbeats)
    mode = stat.S_IMODE((agent.state_dir / "credentials.json").stat().st_mode)
    assert mode == 0o600
    second = AgentProcess.__new__(AgentProcess)
    second.__dict__ |= agent.__dict__
    assert second.start().wait() == 10
    assert "another agent" in agent.log
    assert agent.terminate() == 0
    assert agent.start().process is not None
    broker.wait(lambda: len(broker.heartbeats) > 2)
    assert len(broker.registrations) == 1


def test_a_used_token_ends_the_agent_with_a_clear_message(agent: AgentProcess) -> None:
    assert agent.start(registration_token="wrong").wait() == 4
    assert "token_used" in agent.log
    assert "was used or has expired" in agent.log


def test_the_program_sees_the_contract_and_no_secrets(agent: AgentProcess, broker: Broker) -> None:
    asked = {"MODEL": "tiny", "GRIDBROKER_JOB_ID": "forged", "GRIDBROKER_REGISTRATION_TOKEN": "forged"}
    broker.order("p1", shell("env; which python"), environment=asked, gpu_indices=[0], grace_s=7, attempt=3)
    agent.start()
    broker.wait(lambda: broker.exited("p1"))
    seen = dict(line.split("=", 1) for line in broker.texts("p1") if "=" in line)
    assert {name: seen[name] for name in seen if name.startswith("GRIDBROKER_")} == {
        "GRIDBROKER_JOB_ID": "w-p1",
        "GRIDBROKER_ATTEMPT": "3",
        "GRIDBROKER_CHECKPOINT_DIR": str(agent.state_dir / "placements" / "p1-1" / "checkpoints"),
        "GRIDBROKER_GRACE_S": "7",
    }
    assert (seen["MODEL"], seen["NVIDIA_VISIBLE_DEVICES"]) == ("tiny", "0")
    assert broker.texts("p1")[-1] == str(Path(sys.executable).parent / "python")
    assert KEY not in str(broker.logs)
    assert "s3cret" not in str(broker.logs)


def test_an_impossible_order_is_refused_with_its_reason(agent: AgentProcess, broker: Broker) -> None:
    resume = {"checkpoint_id": "c", "step": 1, "files": [{"path": "../../evil", "bytes": 1, "sha256": "0" * 64}]}
    broker.order("gone", ["no-such-program-anywhere"])
    broker.order("nul", ["echo", "a\0b"])
    broker.order("climbs", ["true"], resume=resume)
    broker.order("odd", ["true"], attempt="first")
    agent.start()
    for placement, reason in (("gone", "no such program"), ("nul", "NUL"), ("climbs", "leaves its folder"), ("odd", "/attempt")):
        refused = broker.wait(lambda placement=placement: broker.exited(placement))
        assert refused["kind"] == "refused"
        assert reason in refused["reason"]
    assert not (agent.state_dir / "evil").exists()
    broker.order("fine", ["true"])
    assert broker.wait(lambda: broker.exited("fine"))["exit_code"] == 0


def test_a_move_resumes_bit_for_bit(agent: AgentProcess, broker: Broker) -> None:
    reference = _weights(
        subprocess.run([sys.executable, *TRAIN[1:], "--steps", "60"], capture_output=True, text=True, check=True).stdout
    )
    command = [*TRAIN, "--steps", "60", "--step-s", "0.03", "--checkpoint-every", "10"]
    broker.order("first", command)
    agent.start()
    broker.wait(lambda: broker.checkpoints.get("first"))
    broker.change("first", action="checkpoint_and_stop")
    exited = broker.wait(lambda: broker.exited("first"))
    commit = broker.checkpoints["first"][-1]
    assert exited["exit_code"] == 75
    assert exited["step"] == commit["step"] < 60
    arrived = [kind for placement, kind in broker.arrivals if placement == "first"]
    assert arrived[-1] == "exited"
    assert _is_true_manifest(commit)
    # The first two downloads arrive damaged, each in its own way.
    broker.faults.tampered_downloads = broker.faults.truncated_downloads = 1
    resume = {"checkpoint_id": "c", "step": commit["step"], "files": commit["files"]}
    broker.order("second", [*TRAIN, "--steps", "60"], resume=resume, attempt=2)
    assert broker.wait(lambda: broker.exited("second"))["exit_code"] == 0
    assert f"resuming from step {commit['step']} of 60" in broker.texts("second")[0]
    assert _weights("\n".join(broker.texts("second"))) == reference
    assert all(commit["step"] < later["step"] for later in broker.checkpoints.get("second", []))
    assert broker.reports["second"][-1]["step"] == 60


def test_a_checkpoint_that_never_arrives_whole_is_refused(agent: AgentProcess, broker: Broker) -> None:
    broker.order("p1", ["true"], resume={"checkpoint_id": "c", "step": 4, "files": [{"path": "f", "bytes": 3, "sha256": "0" * 64}]})
    agent.start()
    assert "no file 'f'" in broker.wait(lambda: broker.exited("p1"))["reason"]


def test_signals_kills_and_deadlines(agent: AgentProcess, broker: Broker) -> None:
    usr1 = "trap 'echo asked' USR1; i=0; while [ $i -lt 30 ]; do sleep 0.1; i=$((i+1)); done"
    broker.order("asked", shell(usr1), checkpoint_signal=True, checkpoint_interval_s=1)
    broker.order("stubborn", shell("trap '' TERM; echo up; sleep 60"), grace_s=1)
    broker.order("killed", shell("echo up; sleep 60"))
    broker.order("unlisted", shell("echo up; sleep 60"))
    agent.start()
    for placement in ("stubborn", "killed", "unlisted"):
        broker.wait(lambda placement=placement: broker.texts(placement))
    broker.change("stubborn", action="checkpoint_and_stop")
    broker.change("killed", action="kill")
    broker.unlist("unlisted")
    assert broker.wait(lambda: broker.exited("killed"))["exit_code"] == 137
    assert broker.wait(lambda: broker.exited("unlisted"))["exit_code"] == 137
    stubborn = broker.wait(lambda: broker.exited("stubborn"))
    assert stubborn["exit_code"] == 137
    assert "within 1 s" in stubborn["reason"]
    assert broker.wait(lambda: broker.texts("asked")) == ["asked"]


def test_an_outage_loses_nothing_and_keeps_the_order(agent: AgentProcess, server: BrokerServer) -> None:
    broker = server.broker
    broker.order("p1", shell("for i in $(seq 40); do echo line $i; sleep 0.05; done; exit 3"))
    agent.start()
    broker.wait(lambda: broker.texts("p1"))
    server.stop()
    _poll(lambda: not agent.groups())
    back = BrokerServer(broker, port=server.server_port)
    broker.faults.answer_500 = 3
    broker.faults.drop_connection = 3
    try:
        exited = broker.wait(lambda: broker.exited("p1"))
        assert exited["exit_code"] == 3
        assert broker.texts("p1") == [f"line {n}" for n in range(1, 41)]
        assert broker.kinds("p1") == ["running", "exited"]
        _assert_whole_samples(broker)
        assert agent.terminate() == 0
    finally:
        back.stop()


def test_a_killed_agent_adopts_its_program(agent: AgentProcess, broker: Broker) -> None:
    broker.order("p1", shell("for i in $(seq 30); do echo line $i; sleep 0.05; done; exit 5"), load_hint=0.5)
    agent.start()
    broker.wait(lambda: len(broker.texts("p1")) >= 5)
    group = agent.groups()
    agent.kill()
    time.sleep(0.3)
    assert agent.groups() == group, "the program outlives the agent"
    agent.start()
    exited = broker.wait(lambda: broker.exited("p1"))
    assert exited["exit_code"] == 5
    # At most what was read and not yet written down in that very moment is missing, and nothing is there twice.
    numbers = [int(text.removeprefix("line ")) for text in broker.texts("p1")]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 30
    assert len(numbers) >= 28
    assert broker.kinds("p1") == ["running", "exited"]
    assert len(list(agent.state_dir.glob("placements/p1-1/run-*"))) == 1
    # The counter went on over the gap: one boot, and the energy of the whole run under load.
    _assert_whole_samples(broker)
    assert len({boot for boot, _, _ in broker.samples}) == 1
    ends = [report["at"] for report in broker.reports["p1"]]
    edges = {sample["at"]: sample["energy_mj"] for sample in broker.samples.values()}
    seconds = _seconds(ends[1]) - _seconds(ends[0])
    assert edges[ends[1]] - edges[ends[0]] == _near((IDLE_W + 0.5 * (MAX_W - IDLE_W)) * seconds * 1000)


def test_a_program_that_ended_while_the_agent_was_dead_is_reported_once_and_truly(agent: AgentProcess, broker: Broker) -> None:
    broker.order("done", shell("echo up; sleep 0.5; exit 9"))
    broker.order("shot", shell("echo up; sleep 60"))
    agent.start()
    broker.wait(lambda: broker.texts("done") and broker.texts("shot"))
    agent.kill()
    (shot,) = [g for g in agent.groups() if "shot" in Path(f"/proc/{g}/cmdline").read_text()]
    os.killpg(shot, signal.SIGKILL)
    _poll(lambda: not agent.groups())
    agent.start()
    assert broker.wait(lambda: broker.exited("done"))["exit_code"] == 9
    lost = broker.wait(lambda: broker.exited("shot"))
    assert (lost["exit_code"], "while the agent was down" in lost["reason"]) == (137, True)
    agent.kill()
    agent.start()
    beats = len(broker.heartbeats)
    broker.wait(lambda: len(broker.heartbeats) > beats + 1)
    assert broker.kinds("done") == broker.kinds("shot") == ["running", "exited"]


def test_a_stale_lease_is_fenced(agent: AgentProcess, broker: Broker) -> None:
    broker.order("p1", shell("while :; do echo on; sleep 0.1; done"))
    agent.start()
    broker.wait(lambda: broker.texts("p1"))
    assert agent.groups()
    with broker.changed:
        broker.stale.add(("p1", 1))
    _poll(lambda: not agent.groups())
    broker.order("p2", ["true"])
    broker.wait(lambda: broker.exited("p2"))
    assert broker.kinds("p1") == ["running"]


def test_a_message_that_is_refused_for_good_blocks_nothing(agent: AgentProcess, broker: Broker) -> None:
    broker.faults.refuse_paths = {"/p1/logs": (422, "invalid")}
    broker.order("p1", shell("echo lost; exit 2"))
    agent.start()
    assert broker.wait(lambda: broker.exited("p1"))["exit_code"] == 2
    assert "dropped a log" in agent.log


def test_a_stopping_agent_has_its_programs_checkpoint(agent: AgentProcess, broker: Broker) -> None:
    broker.order("p1", [*TRAIN, "--steps", "1000", "--step-s", "0.02", "--checkpoint-every", "0"])
    agent.start()
    broker.wait(lambda: "progress" in broker.kinds("p1"))
    assert agent.terminate() == 0
    exited = broker.exited("p1")
    assert exited is not None
    assert exited["exit_code"] == 75
    assert broker.checkpoints["p1"][-1]["step"] == exited["step"]


def test_a_chatty_program_waits_while_the_server_is_away(agent: AgentProcess, broker: Broker) -> None:
    broker.faults.refuse_paths = {"/logs": (503, "unavailable")}
    script = "i=0; while [ $i -lt 22000 ]; do echo %s; i=$((i+1)); done" % ("x" * 200)
    broker.order("p1", shell(script), cpu_seconds_limit=60, memory_limit_mib=512)
    agent.start()
    spool = agent.state_dir / "agent.sqlite"
    broker.wait(lambda: broker.kinds("p1"))
    _poll(lambda: _spooled_bytes(spool) > 4 * 2**20)
    time.sleep(0.5)
    assert agent.groups(), "it waits at its full pipe"
    assert _spooled_bytes(spool) < 5 * 2**20
    assert agent.process is not None
    rss_kib = int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{agent.process.pid}/status").read_text())[0])
    assert rss_kib < 60_000
    with broker.changed:
        broker.faults.refuse_paths = {}
    assert broker.wait(lambda: broker.exited("p1"), 20)["exit_code"] == 0
    assert len(broker.texts("p1")) == 22_000


def test_one_simulated_clock_scales_energy(agent: AgentProcess, broker: Broker) -> None:
    broker.order("p1", ["sleep", "0.5"], load_hint=1.0)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    agent.start(clock_factor=3600, clock_wall_epoch=now, clock_grid_epoch="2026-03-20T00:00:00Z")
    broker.wait(lambda: broker.exited("p1"))
    started, ended = (_seconds(report["at"]) for report in broker.reports["p1"])
    assert 1800 <= ended - started < 2 * 3600
    edges = {sample["at"]: sample["energy_mj"] for sample in broker.samples.values()}
    spent = edges[broker.reports["p1"][1]["at"]] - edges[broker.reports["p1"][0]["at"]]
    assert spent == _near(MAX_W * (ended - started) * 1000)
    assert {sample["kind"] for sample in broker.samples.values()} == {"modelled"}


def _assert_whole_samples(broker: Broker) -> None:
    """Per boot and GPU: no number missing, time and energy never falling."""
    for stream in {key[:2] for key in broker.samples}:
        keys = sorted(key for key in broker.samples if key[:2] == stream)
        assert [key[2] for key in keys] == list(range(1, len(keys) + 1))
        readings = [(broker.samples[key]["at"], broker.samples[key]["energy_mj"]) for key in keys]
        assert readings == sorted(readings)


def _is_true_manifest(commit: dict) -> bool:
    files = tuple(CheckpointFile(**file) for file in commit["files"])
    return hashlib.sha256(manifest_bytes(files)).hexdigest() == commit["manifest_sha256"]


def _weights(output: str) -> str:
    return re.findall(r"weights sha256 ([0-9a-f]{64})", output)[-1]


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _near(value: float) -> object:
    return pytest.approx(value, abs=2)


def _spooled_bytes(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("select coalesce(sum(bytes), 0) from messages where kind = 'log'").fetchone()[0])


def _poll(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)
