"""PostgreSQL's own benchmark on the server that we embed, with the options that we give it: a scale for our figures."""

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from benchmarks.figures import rounded
from benchmarks.scale import Scale
from benchmarks.stacks import BenchmarkFailed
from gridbroker.app.embedded.binaries import SYSTEM_POSTGRES, newest_first, postgres_bin
from gridbroker.app.embedded.postgres import EmbeddedPostgres

SCRATCH = "pgbench_scratch"
CLIENTS, THREADS = 8, 2
MARGIN_S = 120.0
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


def measure(folder: Path, scale: Scale) -> dict[str, Any]:
    """TPC-B-like, the default script. `folder` is a stopped stack's or a new one; nothing else runs on the server."""
    program = find_program()
    if program is None:
        return {"pgbench_tps": None, "pgbench_missing": "pgbench is neither beside the embedded PostgreSQL nor installed"}
    server = EmbeddedPostgres.start(folder / "postgres")
    try:
        asyncio.run(_make_scratch(server.admin_url))
        _run(program, server.admin_url, "-i", "-q", "-s", str(scale.pgbench_scale))
        said = _run(program, server.admin_url, "-c", str(CLIENTS), "-j", str(THREADS), "-T", str(scale.pgbench_s))
    finally:
        server.stop()
    return {
        "pgbench_tps": rounded(read_tps(said), 1),
        "pgbench_options": f"-s {scale.pgbench_scale} -c {CLIENTS} -j {THREADS} -T {scale.pgbench_s}",
    }


def find_program() -> Path | None:
    """From the server's own folder, else from an installed PostgreSQL, the newest first."""
    folders = [postgres_bin(), *(folder / "bin" for folder in newest_first(SYSTEM_POSTGRES.glob("*")))]
    return next((folder / "pgbench" for folder in folders if (folder / "pgbench").is_file()), None)


def read_tps(said: str) -> float:
    """Transactions per second without the time to connect. Raises BenchmarkFailed."""
    found = _TPS.search(said)
    if found is None:
        raise BenchmarkFailed(f"pgbench said no tps:\n{said}")
    return float(found[1])


async def _make_scratch(admin_url: str) -> None:
    connection: Any = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f"drop database if exists {SCRATCH}")
        await connection.execute(f"create database {SCRATCH}")
    finally:
        await connection.close()


def _run(program: Path, admin_url: str, *options: str) -> str:
    parts = urlsplit(admin_url)
    # In the environment, because arguments show in the process list.
    environment = {
        "PGHOST": str(parts.hostname),
        "PGPORT": str(parts.port),
        "PGUSER": str(parts.username),
        "PGPASSWORD": str(parts.password),
        "PGDATABASE": SCRATCH,
    }
    try:
        result = subprocess.run(
            [str(program), *options], env=environment, capture_output=True, text=True, timeout=MARGIN_S, check=True
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BenchmarkFailed(f"pgbench: {error} {error.stderr}") from error
    return result.stdout
