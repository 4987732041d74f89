"""The figures of the foundation: `./dev python -m benchmarks.foundation --json`.

Words go to stderr; the last line of stdout is one JSON object. Everything runs on loopback in a temporary folder. Exit code 1 when
a part failed or a workload did not finish exactly once.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import acknowledge, machine, pgbench, starting, startup, throughput
from benchmarks.figures import rounded
from benchmarks.scale import QUICK, Scale
from benchmarks.stacks import BenchmarkFailed

Part = Callable[[Path, Scale], dict[str, Any]]

PARTS: dict[str, tuple[Part, str]] = {
    "up": (startup.measure, "`gridbroker up` until ready"),
    "submit": (acknowledge.measure, "submits at a fixed rate"),
    "running": (starting.measure, "submit to running, with hints alone"),
    "workloads": (throughput.measure, "a queue of short workloads on simulated agents"),
    "pgbench": (pgbench.measure, "PostgreSQL's own benchmark on the same server"),
}
ALWAYS = ("up_ready_s", "submit_p99_ms", "submit_to_running_p95_s", "workloads_per_s", "finished_exactly_once", "pgbench_tps")
TARGETS = {"up_ready_s": 10.0, "submit_p99_ms": 50.0, "submit_to_running_p95_s": 2.0}
"""Below these."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    result = run(options.only or list(PARTS), scale_of(options), options.data_dir)
    print(json.dumps(result) if options.json else json.dumps(result, indent=2))
    return 1 if result["failed"] or result["finished_exactly_once"] is False else 0


def run(names: Sequence[str], scale: Scale, parent: Path | None) -> dict[str, Any]:
    """Measure the parts named, one after another, each in a folder of its own; what is not measured is null."""
    result: dict[str, Any] = dict.fromkeys(ALWAYS)
    failed: dict[str, str] = {}
    loads = {"start": machine.load()}
    started = perf_counter()
    with tempfile.TemporaryDirectory(prefix="gridbroker-benchmark-", dir=parent) as folder:
        for name in names:
            try:
                result |= _measure(name, Path(folder), scale)
            except (BenchmarkFailed, TimeoutError, OSError) as error:
                failed[name] = str(error)
                _say(f"{name}: failed: {error}")
            loads[name] = machine.load()
        result["machine"] = machine.facts(Path(folder))
    result |= {"workloads_per_pgbench_tx": _ratio(result["workloads_per_s"], result["pgbench_tps"]), "targets_met": met(result)}
    return result | {"load_average": loads, "seconds": rounded(perf_counter() - started, 1), "failed": failed}


def _measure(name: str, folder: Path, scale: Scale) -> dict[str, Any]:
    part, words = PARTS[name]
    # The last part uses the cluster of the one before, when there is one.
    own = folder / ("workloads" if name == "pgbench" else name)
    own.mkdir(exist_ok=True)
    _say(f"{name}: {words} ...")
    started = perf_counter()
    figures = part(own, scale)
    _say(f"{name}: {perf_counter() - started:.1f} s, {figures}")
    return figures


def met(result: dict[str, Any]) -> dict[str, bool | None]:
    """Whether each target is reached; None where it was not measured."""
    return {name: None if result[name] is None else result[name] < limit for name, limit in TARGETS.items()}


def _ratio(one: float | None, other: float | None) -> float | None:
    return rounded(one / other, 5) if one and other else None


def scale_of(options: argparse.Namespace) -> Scale:
    given = {"workloads": options.workloads, "agents": options.agents, "submit_s": options.seconds, "rate_per_s": options.rate}
    base = QUICK if options.quick else Scale()
    return dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.foundation", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result on one line")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="measure this part (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, to see that it works")
    parser.add_argument("--workloads", type=_whole, help="queued workloads")
    parser.add_argument("--agents", type=_whole, help="simulated agents")
    parser.add_argument("--seconds", type=float, help="how long submits are measured")
    parser.add_argument("--rate", type=float, help="submits per second")
    parser.add_argument("--data-dir", type=Path, help="where the temporary data folders are made")
    return parser


def _whole(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError("1 to 100000")
    return number


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
