"""How long `gridbroker up` takes until the API is ready, on a new data folder and on one that exists."""

import json
import signal
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

from benchmarks.figures import rounded
from benchmarks.scale import Scale
from benchmarks.stacks import BenchmarkFailed, settings_in
from gridbroker.app.child import plain_environment

UP_TIMEOUT_S = 120.0
DOWN_TIMEOUT_S = 60.0


def measure(folder: Path, scale: Scale) -> dict[str, Any]:
    """The command as typed: from starting its process to /ready answering 200. Median of the warm starts."""
    settings = settings_in(folder)
    environment = plain_environment() | settings.as_environment()
    first_s, _ = _up(environment)
    warm = [_up(environment) for _ in range(scale.starts)]
    return {
        "up_ready_s": rounded(statistics.median(ready_s for ready_s, _ in warm)),
        "up_first_s": rounded(first_s),
        "up_runs_s": [rounded(ready_s) for ready_s, _ in warm],
        "down_s": rounded(statistics.median(down_s for _, down_s in warm)),
    }


def _up(environment: dict[str, str]) -> tuple[float, float]:
    """Seconds until ready, and from Ctrl-C to the end."""
    argv = [sys.executable, "-P", "-m", "gridbroker.app.cli.main", "up", "--json"]
    started = perf_counter()
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    limit = threading.Timer(UP_TIMEOUT_S, process.terminate)
    limit.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise BenchmarkFailed(f"`gridbroker up` ended with {process.wait()}")
        if httpx.get(f"{json.loads(line)['url']}/ready", trust_env=False).status_code != 200:
            raise BenchmarkFailed("`gridbroker up` said where it is but was not ready")
        ready_s = perf_counter() - started
    finally:
        limit.cancel()
        asked = perf_counter()
        process.send_signal(signal.SIGINT)
        process.wait(DOWN_TIMEOUT_S)
    return ready_s, perf_counter() - asked
