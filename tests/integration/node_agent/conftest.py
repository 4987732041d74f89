"""A broker double on a real port, and agents as real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .broker_double import Broker, BrokerServer


class AgentProcess:
    """One agent on one state folder; may be started again after its end."""

    def __init__(self, server: BrokerServer, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.url = server.url
        self.process: subprocess.Popen[bytes] | None = None
        self.log_path = state_dir.with_suffix(".log")
        self.settings: dict[str, Any] = {}

    def start(self, **settings: Any) -> "AgentProcess":
        values = {
            "server_url": self.url,
            "state_dir": self.state_dir,
            "registration_token": "one-time-token",
            "node_name": "test node",
            "zone": "DE",
            "gpu_model": "H100",
            "energy_source": "modelled",
            "sample_interval_s": 0.2,
            "drain_s": 3,
        }
        self.settings = values | self.settings | settings
        environment = {f"GRIDBROKER_{name.upper()}": str(value) for name, value in self.settings.items()}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gridbroker.node_agent"],
                env={"PATH": os.defpath, "SECRET_OF_THE_OWNER": "s3cret"} | environment,
                stderr=log,
            )
        return self

    def kill(self) -> None:
        """As the kernel does it when memory runs out."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout_s: float = 15) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def wait(self, timeout_s: float = 10) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def groups(self) -> list[int]:
        """Process groups of all programs that this agent ever started and that are alive."""
        alive: list[int] = []
        for identity in self.state_dir.glob("placements/*/run-*/identity"):
            pid = identity.read_text().split(" ", 1)[0]
            state = Path(f"/proc/{pid}/stat")
            if pid.isdigit() and state.exists() and str(identity.parent) in Path(f"/proc/{pid}/cmdline").read_text():
                alive.append(int(pid))
        return alive


@pytest.fixture
def server() -> Iterator[BrokerServer]:
    server = BrokerServer(Broker())
    yield server
    server.stop()
    assert server.broker.problems == []


@pytest.fixture
def broker(server: BrokerServer) -> Broker:
    return server.broker


@pytest.fixture
def agent(server: BrokerServer, tmp_path: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(server, tmp_path / "state")
    yield agent
    if agent.process is not None and agent.process.poll() is None:
        agent.kill()
    for group in agent.groups():
        os.killpg(group, signal.SIGKILL)
    if agent.log_path.exists():
        print(agent.log)
        assert "Traceback" not in agent.log
