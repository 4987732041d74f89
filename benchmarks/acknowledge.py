"""How long a submit takes until it is durable, at a fixed rate on the whole running stack."""

from pathlib import Path
from typing import Any

import msgspec

from benchmarks import cpu
from benchmarks.figures import rounded, spread
from benchmarks.scale import Scale
from benchmarks.stacks import HOST, BenchmarkFailed, Market, market, run_child, settings_in, workload_body
from benchmarks.submitters import Outcome, Plan

MARGIN_S = 90.0
RUN_S = 0.05


def measure(folder: Path, scale: Scale) -> dict[str, Any]:
    """No node is registered, so every workload is routed, finds no place and waits."""
    with market(settings_in(folder), scale.clients) as opened:
        before = cpu.used_s(opened.stack.processes)
        outcome = submit(opened, round(scale.rate_per_s * (scale.warmup_s + scale.submit_s)), scale.rate_per_s)
        used_ms = cpu.per_piece_ms(before, cpu.used_s(opened.stack.processes), len(outcome.latencies_ms) or 1)
    return report("submit", outcome, warmup=round(scale.rate_per_s * scale.warmup_s)) | {"submit_cpu_ms": used_ms}


def submit(opened: Market, total: int, rate_per_s: float | None) -> Outcome:
    """Submit from a process of its own, one client for each customer."""
    plan = Plan(
        host=HOST,
        port=opened.port,
        keys=list(opened.customer_keys),
        body=msgspec.Raw(workload_body(RUN_S)),
        total=total,
        rate_per_s=rate_per_s,
    )
    expected_s = total / rate_per_s if rate_per_s else total / 5
    return msgspec.json.decode(run_child("submitters", plan, expected_s + MARGIN_S), type=Outcome)


def report(name: str, outcome: Outcome, *, warmup: int = 0) -> dict[str, Any]:
    """Figures of the requests after the warm-up. Raises BenchmarkFailed."""
    require_accepted(outcome)
    figures = spread(outcome.latencies_ms[warmup:])
    return {
        f"{name}_p50_ms": rounded(figures.p50),
        f"{name}_p95_ms": rounded(figures.p95),
        f"{name}_p99_ms": rounded(figures.p99),
        f"{name}_max_ms": rounded(figures.max),
        f"{name}s": figures.count,
        f"{name}_errors": 0,
        f"{name}_achieved_per_s": rounded(len(outcome.latencies_ms) / outcome.elapsed_s),
        f"{name}_generator_late_max_ms": rounded(outcome.lateness_max_ms),
    }


def require_accepted(outcome: Outcome) -> None:
    """Raises BenchmarkFailed when any submit was refused: its time would be missing from the figures."""
    if outcome.errors:
        raise BenchmarkFailed(f"{sum(outcome.errors.values())} submits failed: {outcome.errors}")
