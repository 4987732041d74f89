"""Who this node is: the one-time registration, its outcome kept in the state folder, and the lock on that folder."""

import fcntl
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from gridbroker import __version__
from gridbroker.node_agent import codec
from gridbroker.node_agent.backoff import delay_s
from gridbroker.node_agent.client import Client, Unreachable
from gridbroker.node_agent.clock import rfc3339
from gridbroker.node_agent.config import AgentConfig, BadConfig
from gridbroker.node_agent.protocol import EnergyKind, NodeCredentials, NodeRegistration

log = logging.getLogger(__name__)


class Locked(Exception):
    """Another agent has the state folder."""


def lock(state_dir: Path) -> IO[str]:
    """Held until the file is closed or the process ends, however it ends. Raises Locked, or BadConfig for an unwritable folder."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (state_dir / "agent.lock").open("a+")
    except OSError as error:
        raise BadConfig(f"the state folder {state_dir} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise Locked(f"another agent (pid {holder}) runs on {state_dir}") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def saved(state_dir: Path) -> NodeCredentials | None:
    """From an earlier start. Raises BadConfig when the file is damaged."""
    try:
        return codec.decode(NodeCredentials, json.loads(_path(state_dir).read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BadConfig(f"{_path(state_dir)} is damaged ({error}); remove it and register again with a new token") from error


def register(config: AgentConfig, energy_kind: EnergyKind, wait_or_stop: Callable[[float], bool]) -> NodeCredentials | None:
    """Uses up the token and keeps what it buys. Waits for an unreachable server; None when told to stop meanwhile.

    Raises BadConfig without a token or a description of the node, Refused when the server does not want it.
    """
    missing = [name for name in ("registration_token", "node_name", "zone", "gpu_model") if not getattr(config, name)]
    if missing:
        raise BadConfig("the first start needs " + ", ".join(f"GRIDBROKER_{name.upper()}" for name in missing))
    client = Client(config.server_url)
    failures = 0
    while True:
        try:
            answer = client.call("POST", "/api/v1/nodes", codec.encode(_registration(config, energy_kind)))
            break
        except Unreachable as error:
            failures += 1
            log.warning("registration: %s", error)
            if wait_or_stop(delay_s(failures, error.retry_after_s)):
                return None
    client.close()
    credentials = codec.decode(NodeCredentials, answer)
    _save(config.state_dir, credentials)
    return credentials


def _registration(config: AgentConfig, energy_kind: EnergyKind) -> NodeRegistration:
    return NodeRegistration(
        token=config.registration_token or "",
        name=config.node_name,
        zone=config.zone,
        gpu_model=config.gpu_model,
        gpu_count=config.gpu_count,
        price_eur_per_gpu_hour=config.price_eur_per_gpu_hour,
        pue=config.pue,
        energy_kind=energy_kind,
        agent_version=__version__,
        sent_at=rfc3339(config.clock.wall()),
    )


def _save(state_dir: Path, credentials: NodeCredentials) -> None:
    """Whole or not at all, and readable by its owner alone from the first byte."""
    partial = state_dir / "credentials.json.new"
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(codec.encode(credentials))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(_path(state_dir))


def _path(state_dir: Path) -> Path:
    return state_dir / "credentials.json"
