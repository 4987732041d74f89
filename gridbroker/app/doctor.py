"""What `gridbroker doctor` looks at: each thing that the product needs, and what to do where it is missing."""

import ctypes
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import asyncpg
import httpx
import redis
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError

from gridbroker.app import migrate
from gridbroker.app.embedded.binaries import MissingBinary, postgres_bin, valkey_server
from gridbroker.app.preflight import PortInUse, require_free_port, require_writable
from gridbroker.core.errors import GridbrokerError
from gridbroker.core.settings import Settings

MIN_PYTHON = (3, 11)
EARLIEST_CLOCK = datetime(2026, 1, 1, tzinfo=UTC)
"""Before this release existed; a machine without a battery starts in 1970."""
TIMEOUT_S = 3.0
NVML = "libnvidia-ml.so.1"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `hint` says what to do and is empty when nothing is; what is not `required` may be missing."""

    name: str
    ok: bool
    detail: str
    hint: str = ""
    required: bool = True


def examine(settings: Settings, *, now: datetime) -> list[Check]:
    """Every check, in the order in which they matter. Starts nothing; makes the data folder when it is not there."""
    return list(_checks(settings, now))


def is_healthy(checks: list[Check]) -> bool:
    return all(check.ok for check in checks if check.required)


def _checks(settings: Settings, now: datetime) -> Iterator[Check]:
    yield check_python(sys.version_info[:2])
    yield check_clock(now)
    yield _check_folder(settings.data_dir)
    yield _check_port(settings)
    yield _check_postgres(settings) if settings.database_url is None else _check_database(settings.database_url)
    yield _check_valkey(settings) if settings.redis_url is None else _check_redis(settings.redis_url)
    yield check_nvml()


def check_python(version: tuple[int, ...]) -> Check:
    wanted = ".".join(map(str, MIN_PYTHON))
    detail = f"Python {'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    return Check("python", version >= MIN_PYTHON, detail, "" if version >= MIN_PYTHON else f"Install Python {wanted} or newer.")


def check_clock(now: datetime) -> Check:
    ok = now >= EARLIEST_CLOCK
    return Check("clock", ok, f"{now:%Y-%m-%d %H:%M:%S} UTC", "" if ok else "Set this machine's clock, best by NTP.")


def check_nvml(library: str = NVML) -> Check:
    """Whether this machine's GPUs can be read, which only an agent that meters them needs."""
    hint = "Without it an agent here models energy and says so. Install the NVIDIA driver where there are GPUs."
    try:
        nvml = ctypes.CDLL(library)
        code, count = nvml.nvmlInit_v2(), ctypes.c_uint()
        code = code or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    except (OSError, AttributeError) as error:
        return Check("nvml", False, str(error), hint, required=False)
    if code:
        return Check("nvml", False, f"{library} answers with error {code}", hint, required=False)
    nvml.nvmlShutdown()
    return Check("nvml", True, f"{count.value} GPUs", required=False)


def _check_folder(data_dir: Path) -> Check:
    try:
        require_writable(data_dir)
    except GridbrokerError as error:
        return Check("data_dir", False, error.detail, "Correct GRIDBROKER_DATA_DIR.")
    return Check("data_dir", True, str(data_dir))


def _check_port(settings: Settings) -> Check:
    where = f"{settings.api_host}:{settings.api_port}"
    try:
        require_free_port(settings.api_host, settings.api_port)
    except PortInUse as error:
        if _is_gridbroker(settings):
            return Check("port", True, f"{where} is served by a running Gridbroker")
        return Check("port", False, error.detail, "Stop that program, or set GRIDBROKER_API_PORT.")
    except GridbrokerError as error:
        return Check("port", False, error.detail, "Correct GRIDBROKER_API_HOST or GRIDBROKER_API_PORT.")
    return Check("port", True, f"{where} is free")


def _is_gridbroker(settings: Settings) -> bool:
    try:
        answer = httpx.get(f"http://{settings.api_host}:{settings.api_port}/ready", timeout=TIMEOUT_S, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE)


def _check_postgres(settings: Settings) -> Check:
    try:
        return Check("postgres", True, f"embedded, from {postgres_bin(settings.postgres_bin)}")
    except MissingBinary as error:
        return Check("postgres", False, error.title, error.detail)


def _check_valkey(settings: Settings) -> Check:
    try:
        return Check("redis", True, f"embedded, from {valkey_server(settings.valkey_bin)}")
    except MissingBinary as error:
        return Check("redis", False, error.title, error.detail)


def _check_database(url: str) -> Check:
    try:
        revision = migrate.revision(url)
    except (OSError, asyncpg.PostgresError, SQLAlchemyError, ValueError) as error:
        return Check("postgres", False, _without_url(error), "Correct GRIDBROKER_DATABASE_URL, or start that server.")
    return check_revision(revision, ScriptDirectory(str(resources.files("gridbroker") / "migrations")))


def check_revision(revision: str | None, script: ScriptDirectory) -> Check:
    head = script.get_current_head()
    if revision == head:
        return Check("postgres", True, f"reachable, schema {revision}")
    if revision is None or revision in {item.revision for item in script.walk_revisions()}:
        return Check("postgres", False, f"reachable, schema {revision or 'empty'}, needs {head}", "Run: gridbroker db upgrade")
    return Check(
        "postgres", False, f"schema {revision} is newer than this program, which knows {head}", "Install a newer Gridbroker."
    )


def _check_redis(url: str) -> Check:
    try:
        with redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        return Check("redis", False, _without_url(error), "Correct GRIDBROKER_REDIS_URL, or start that server.")
    return Check("redis", True, "reachable")


def _without_url(error: Exception) -> str:
    """What an error says, on one line. The drivers name host and port, never the password."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no detail'}"
