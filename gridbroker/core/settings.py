"""Settings of the server, read once from the environment (`GRIDBROKER_*`). The only server module that reads it.

Each field is the variable of the same name in capitals: `api_port` is `GRIDBROKER_API_PORT`. Children started by `gridbroker up`
get theirs the same way, so one process and many are configured alike.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from platformdirs import user_data_path

from gridbroker.core.clock import Clock, SimulatedClock, SystemClock
from gridbroker.core.errors import FieldError, Invalid

PREFIX = "GRIDBROKER_"


class BadSettings(Invalid):
    code, title = "bad_settings", "A setting is wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    data_dir: Path
    """Embedded databases, blobs, keys and logs live below this folder."""
    shared_dir: Path | None = None
    """Checkpoints and the receipts' signing key, which all hosts of one installation need. Default: `data_dir`."""

    database_url: str | None = None
    """PostgreSQL as its owner: migrations, and the default for the two below. Unset: the embedded one."""
    app_database_url: str | None = None
    """The role that row-level security binds. Default: `database_url`, then SET ROLE gridbroker_app."""
    system_database_url: str | None = None
    """The role for claims, routing and the marketplace. Default: `database_url`, then SET ROLE gridbroker_system."""
    redis_url: str | None = None

    postgres_bin: Path | None = None
    valkey_bin: Path | None = None

    api_host: str = "127.0.0.1"
    api_port: int = 8000
    api_workers: int = 1
    public_url: str | None = None
    """Where customers reach the API; receipts name it as issuer. Default: http://api_host:api_port."""

    worker_threads: int = 8
    sweep_interval_s: float = 5.0
    """How often the scheduler looks for due rows that no hint announced. Costs latency, never correctness."""
    review_interval_s: float = 60.0
    """Grid time between two reviews of a running workload."""
    grid_refresh_interval_s: float = 30.0
    """Grid time between two looks at the grid sources."""
    node_lost_after_s: float = 90.0
    """Wall time without a heartbeat after which a node counts as lost."""

    grid_source: str = "typical"
    """`typical` (a modelled day, labelled so) or `replay:/path/to/trace.csv[.gz]`."""
    rails: str = "fake"
    max_body_bytes: int = 1_048_576
    max_blob_bytes: int = 4 * 1024**3
    rate_limit_per_minute: int = 6000
    log_level: str = "info"
    log_json: bool = True

    clock_factor: int = 1
    clock_wall_epoch: datetime | None = None
    clock_grid_epoch: datetime | None = None

    @property
    def blob_dir(self) -> Path:
        return (self.shared_dir or self.data_dir) / "blobs"

    @property
    def signing_key_path(self) -> Path:
        return (self.shared_dir or self.data_dir) / "keys" / "receipts.ed25519"

    @property
    def issuer_url(self) -> str:
        return self.public_url or f"http://{self.api_host}:{self.api_port}"

    def clock(self) -> Clock:
        if self.clock_factor == 1 and self.clock_grid_epoch is None:
            return SystemClock()
        if self.clock_wall_epoch is None or self.clock_grid_epoch is None:
            raise BadSettings(f"{PREFIX}CLOCK_FACTOR needs {PREFIX}CLOCK_WALL_EPOCH and {PREFIX}CLOCK_GRID_EPOCH")
        return SimulatedClock(self.clock_wall_epoch, self.clock_grid_epoch, self.clock_factor)

    def as_environment(self) -> dict[str, str]:
        """The variables that make another process load the same settings."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {PREFIX + name.upper(): _to_text(value) for name, value in values.items() if value is not None}


def load(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from the environment, then `overrides`. Raises BadSettings naming every variable that is wrong."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {"data_dir": user_data_path("gridbroker")}
    problems: list[FieldError] = []
    for field in dataclasses.fields(Settings):
        text = environment.get(PREFIX + field.name.upper())
        if text is None or text == "":
            continue
        try:
            values[field.name] = Path(text) if "Path" in str(field.type) else msgspec.convert(text, field.type, strict=False)
        except msgspec.ValidationError as error:
            problems.append(FieldError(PREFIX + field.name.upper(), str(error)))
    problems += _out_of_range(values)
    if problems:
        raise BadSettings("; ".join(f"{problem.pointer}: {problem.detail}" for problem in problems), errors=problems)
    return Settings(**(values | overrides))


_RANGES: dict[str, tuple[float, float]] = {
    "api_port": (0, 65_535),
    "api_workers": (1, 256),
    "worker_threads": (1, 256),
    "sweep_interval_s": (0.01, 86_400),
    "review_interval_s": (0.01, 86_400),
    "grid_refresh_interval_s": (0.01, 86_400),
    "node_lost_after_s": (0.01, 86_400),
    "max_body_bytes": (1024, 1024**3),
    "max_blob_bytes": (1024, 1024**4),
    "rate_limit_per_minute": (1, 100_000_000),
    "clock_factor": (1, 1_000_000),
}


def _out_of_range(values: Mapping[str, Any]) -> list[FieldError]:
    """Numbers outside what can work (NaN is), and times without an offset."""
    numbers = [
        FieldError(PREFIX + name.upper(), f"must lie between {low} and {high}")
        for name, (low, high) in _RANGES.items()
        if name in values and not low <= values[name] <= high
    ]
    times = [
        FieldError(PREFIX + name.upper(), "needs an offset, such as Z for UTC")
        for name, value in values.items()
        if isinstance(value, datetime) and value.tzinfo is None
    ]
    return numbers + times


def _to_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
