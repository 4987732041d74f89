"""The agent's configuration: `GRIDBROKER_*` variables, flags over them. The only agent module that reads the environment.

Each field is the variable of the same name in capitals: `server_url` is `GRIDBROKER_SERVER_URL`.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gridbroker.node_agent.clock import GridClock

PREFIX = "GRIDBROKER_"
ENERGY_SOURCES = ("auto", "nvml", "modelled")

# The same numbers as the command line's.
EXIT_OK = 0
EXIT_CONFIG = 2
"""A setting is missing or wrong."""
EXIT_REFUSED = 4
"""The server refused the registration: its token is unknown, used or expired."""
EXIT_LOCKED = 10
"""Another agent runs on the same state folder."""
EXIT_CRASHED = 1
"""Something that cannot happen happened. Programs keep running; the next start adopts them."""

INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""All that a workload sees of the agent's own environment."""


class BadConfig(Exception):
    """Names the variable that is missing or wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    server_url: str
    state_dir: Path
    """Credentials, spool and the placements' working folders; one agent at a time."""
    registration_token: str | None = None
    """One-time; needed by the first start only."""
    node_name: str = ""
    zone: str = ""
    gpu_model: str = ""
    """Key of the server's GPU catalogue."""
    gpu_count: int = 1
    price_eur_per_gpu_hour: str | None = None
    pue: float = 1.0
    energy_source: str = "auto"
    """`nvml` needs a driver, `modelled` never asks one, `auto` takes what is there. A simulated clock always gets the model."""
    sample_interval_s: float = 1.0
    """Wall seconds between two samples of each GPU."""
    heartbeat_interval_s: float | None = None
    """Wall seconds; default: what the server asked for."""
    clock_factor: int = 1
    clock_wall_epoch: datetime | None = None
    clock_grid_epoch: datetime | None = None
    drain_s: float = 10.0
    """How long a stopping agent waits for the server to take what is spooled. The rest stays for the next start."""
    log_level: str = "info"
    base_environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """What workloads inherit; filled from `INHERITED`."""

    @property
    def clock(self) -> GridClock:
        return GridClock(self.clock_factor, self.clock_wall_epoch, self.clock_grid_epoch)


def load(environment: Mapping[str, str] | None = None, **overrides: Any) -> AgentConfig:
    """The configuration from the environment, then `overrides` that are not None. Raises BadConfig."""
    environment = os.environ if environment is None else environment  # noqa: TID251 - the agent's one reader
    values: dict[str, Any] = {
        "state_dir": Path.home() / ".local" / "share" / "gridbroker" / "agent",
        "base_environment": {name: environment[name] for name in INHERITED if name in environment},
    }
    for name in setting_names():
        text = environment.get(PREFIX + name.upper())
        if text:
            values[name] = _parse(name, text)
    given = {name: value for name, value in overrides.items() if value is not None}
    values |= {name: _parse(name, value) if isinstance(value, str) else value for name, value in given.items()}
    if not values.get("server_url"):
        raise BadConfig(f"{PREFIX}SERVER_URL is not set: the address of the broker, for example https://broker.example")
    return check(AgentConfig(**values))


def setting_names() -> tuple[str, ...]:
    return tuple(entry.name for entry in dataclasses.fields(AgentConfig) if entry.name != "base_environment")


def check(config: AgentConfig) -> AgentConfig:
    """The same configuration, or BadConfig."""
    for wrong, message in (
        (not config.server_url.startswith(("http://", "https://")), "SERVER_URL must start with http:// or https://"),
        (config.gpu_count < 1, "GPU_COUNT must be at least 1"),
        (config.pue < 1, "PUE must be at least 1"),
        (config.sample_interval_s <= 0, "SAMPLE_INTERVAL_S must be positive"),
        (config.energy_source not in ENERGY_SOURCES, f"ENERGY_SOURCE must be one of {', '.join(ENERGY_SOURCES)}"),
        (config.clock_factor < 1, "CLOCK_FACTOR must be at least 1"),
        (
            config.clock_factor != 1 and None in (config.clock_wall_epoch, config.clock_grid_epoch),
            "CLOCK_FACTOR needs CLOCK_WALL_EPOCH and CLOCK_GRID_EPOCH",
        ),
    ):
        if wrong:
            raise BadConfig(PREFIX + message)
    return config


def _parse(name: str, text: str) -> Any:
    try:
        return _PARSERS.get(name, str)(text)
    except ValueError as error:
        raise BadConfig(f"{PREFIX}{name.upper()}: {error}") from None


def _aware(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("needs a time zone, for example 2026-03-20T12:00:00Z")
    return at


_PARSERS: dict[str, Callable[[str], Any]] = {
    "state_dir": lambda text: Path(text).expanduser().absolute(),
    "gpu_count": int,
    "pue": float,
    "sample_interval_s": float,
    "heartbeat_interval_s": float,
    "clock_factor": int,
    "clock_wall_epoch": _aware,
    "clock_grid_epoch": _aware,
    "drain_s": float,
}
