"""`gridbroker demo`: the main job from beginning to end, on real parts, with grid time running faster than the wall clock.

Real PostgreSQL, Redis, HTTP, agents and training; modelled are the grid (unless a trace is replayed) and the GPUs' energy, because
the nodes have no GPU. Every figure says so.
"""

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from gridbroker_sdk import Client

from gridbroker.app.admin import ensure_admin_now
from gridbroker.app.demo.cast import GPU_MODEL, HOME_ZONE, Cast, DemoFailed, assemble
from gridbroker.app.demo.follow import Story, follow
from gridbroker.app.demo.proof import TRAINER, Receipt, Steps, check_steps, fetch_and_verify
from gridbroker.app.demo.telling import Teller
from gridbroker.app.demo.times import CHECKPOINT_EVERY, FACTOR, LEAD, RUN_HOURS, STEP_S, STEPS, Stage, choose
from gridbroker.app.stack import Stack
from gridbroker.core.clock import SystemClock
from gridbroker.core.settings import load

BUDGET = "60.00"
CAP_G_PER_KWH = 300
SETTLED_WAIT_S = 15.0
_KEPT = ("receipt.json", "proof.json", "logs")


def run(*, grid_trace: Path | None = None, as_json: bool = False, keep: bool = False, data_dir: Path | None = None) -> int:
    """Play it and return the exit code: 0 when the run completed and its receipt verified.

    `data_dir` must be new or empty; without it a temporary folder is used, of which the receipt and the logs stay.
    """
    started_s = time.monotonic()
    teller = Teller(to_stderr=as_json)
    stage = choose(grid_trace, SystemClock().now())
    folder = _fresh(data_dir)
    teller.opening(stage, str(folder))
    clock = SystemClock()
    settings = load(
        {},
        data_dir=folder,
        api_port=0,
        grid_source=stage.grid_source,
        sweep_interval_s=0.25,
        review_interval_s=600.0,
        grid_refresh_interval_s=600.0,
        clock_factor=FACTOR,
        clock_wall_epoch=clock.wall() + LEAD,
        clock_grid_epoch=stage.starts_at,
    )
    try:
        with Stack.start(settings) as stack:
            admin_key = ensure_admin_now(stack.settings)
            if admin_key is None:
                raise DemoFailed("This data folder has been used before; the demonstration needs a fresh one.")
            cast = assemble(stack.url, admin_key, stack.settings, stage.zones)
            try:
                summary = _play(stack, cast, stage, folder, teller)
                summary["seconds"] = round(time.monotonic() - started_s, 1)
                _tell_end(teller, summary, as_json=as_json)
                if keep:
                    teller.head(f"Left running at {stack.url} with all nodes; Ctrl-C stops it")
                    teller.line(f"admin key, shown this once: {admin_key}")
                    stack.wait()
            finally:
                cast.stop()
    finally:
        if not keep and data_dir is None:
            _tidy(folder)
    return 0 if summary["ok"] else 1


def _play(stack: Stack, cast: Cast, stage: Stage, folder: Path, teller: Teller) -> dict[str, Any]:
    _wait_for_curtain(stack, cast.customer)
    body = workload_body(stage)
    teller.plan(cast.customer.plan(body))
    workload = cast.customer.submit(body)
    teller.decision(_first_decision(cast.customer, workload["id"]))
    story = follow(cast.customer, workload["id"], teller)
    steps = check_steps(story.lines, story.view)
    teller.steps(steps)
    return _account(stack, cast, story, steps, stage, folder, teller)


def workload_body(stage: Stage) -> dict[str, Any]:
    """The training run that the demonstration submits; on the modelled day with a carbon cap, which one of the nodes breaks."""
    command = [
        "python",
        "-m",
        TRAINER,
        "--steps",
        str(STEPS),
        "--step-s",
        f"{STEP_S:.6f}",
        "--checkpoint-every",
        str(CHECKPOINT_EVERY),
    ]
    return {
        "name": "two-spirals",
        "command": command,
        "gpu_model": GPU_MODEL,
        "expected_hours": RUN_HOURS,
        "budget": {"amount": BUDGET, "currency": "EUR"},
        "home_zone": HOME_ZONE,
        "max_intensity_g_per_kwh": CAP_G_PER_KWH if stage.grid_kind == "modelled" else None,
        "checkpoint": {"signal": True, "size_mib": 1, "grace_s": 10},
    }


def _first_decision(customer: Client, workload_id: str) -> dict[str, Any]:
    deadline_s = time.monotonic() + SETTLED_WAIT_S
    while time.monotonic() < deadline_s:
        found = customer.get(f"/api/v1/workloads/{workload_id}/decisions")["data"]
        if found:
            return found[-1]
        customer.sleep(0.1)
    raise DemoFailed(f"Nothing was decided within {SETTLED_WAIT_S:.0f} s.")


def _wait_for_curtain(stack: Stack, customer: Client) -> None:
    """Until grid time is what the stage says."""
    epoch = stack.settings.clock_wall_epoch
    assert epoch is not None, "the demonstration sets it"
    customer.sleep(max(0.0, (epoch - SystemClock().wall()).total_seconds()))


def _account(stack: Stack, cast: Cast, story: Story, steps: Steps, stage: Stage, folder: Path, teller: Teller) -> dict[str, Any]:
    """Show decisions, statement, money and proof; return the summary."""
    customer, workload_id = cast.customer, story.view["id"]
    if story.view["moves"] == 0:
        teller.no_move(customer.get(f"/api/v1/workloads/{workload_id}/decisions")["data"])
    statement = customer.statement(workload_id)
    teller.statement(statement)
    payouts = _payouts(stack.url, cast, workload_id)
    entries = list(reversed(customer.get("/api/v1/ledger/entries")["data"]))
    teller.money(entries, customer.get("/api/v1/charges")["data"], payouts)
    receipt = fetch_and_verify(customer, workload_id, folder)
    teller.receipt(receipt)
    return _summary(story, steps, stage, statement, receipt, payouts)


def _payouts(url: str, cast: Cast, workload_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for node in cast.nodes:
        with Client(url, node.provider_key) as provider:
            deadline_s = time.monotonic() + SETTLED_WAIT_S
            mine = provider.get("/api/v1/payouts", {"workload_id": workload_id})["data"]
            while any(one["state"] not in ("paid", "confirmed", "failed") for one in mine) and time.monotonic() < deadline_s:
                provider.sleep(0.3)
                mine = provider.get("/api/v1/payouts", {"workload_id": workload_id})["data"]
            found += mine
    return found


def _summary(
    story: Story, steps: Steps, stage: Stage, statement: dict[str, Any], receipt: Receipt, payouts: list[dict[str, Any]]
) -> dict[str, Any]:
    completed = story.view["state"] == "completed"
    return {
        "ok": completed and receipt.verified and steps.lost == 0 and steps.same_result,
        "seconds": 0.0,
        "state": story.view["state"],
        "moves": story.view["moves"],
        "steps": steps.final,
        "steps_lost": steps.lost,
        "steps_repeated": steps.repeated,
        "same_result_as_uninterrupted": steps.same_result,
        "receipt_verified": receipt.verified,
        "receipt_file": str(receipt.file),
        "proof_file": str(receipt.proof_file) if receipt.proof_file else None,
        "grid_kind": stage.grid_kind,
        "energy_kind": statement["energy_kind"],
        "clock_factor": FACTOR,
        "zones": [usage["zone"] for usage in statement["usages"]],
        "energy_mj": str(statement["energy_mj"]),
        "emissions_mg": str(statement["emissions_mg"]),
        "cost_eur": story.view["cost_eur"],
        "avoided_mg": {one["baseline"]: str(one["avoided_mg"]) for one in statement["counterfactuals"]},
        "payouts": [payout["state"] for payout in payouts],
    }


def _tell_end(teller: Teller, summary: dict[str, Any], *, as_json: bool) -> None:
    verdict = "Done" if summary["ok"] else "NOT as it should be"
    teller.head(
        f"{verdict} in {summary['seconds']} s: {summary['state']}, {summary['moves']} moves, receipt at {summary['receipt_file']}"
    )
    if as_json:
        print(json.dumps(summary), flush=True)


def _fresh(data_dir: Path | None) -> Path:
    if data_dir is None:
        return Path(tempfile.mkdtemp(prefix="gridbroker-demo-"))
    if data_dir.exists() and any(data_dir.iterdir()):
        raise DemoFailed(f"{data_dir} is not empty; the demonstration needs a fresh folder.")
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return data_dir.absolute()


def _tidy(folder: Path) -> None:
    """Remove the databases; keep what is worth reading."""
    for path in folder.iterdir():
        if path.name not in _KEPT:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
