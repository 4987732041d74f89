"""What the demonstration proves after the run: no step lost or repeated, and a receipt that a stranger's process verifies."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridbroker_sdk import Client

from gridbroker.app.child import plain_environment
from gridbroker.app.demo.cast import DemoFailed
from gridbroker.app.demo.times import STEPS
from gridbroker.app.embedded import process as processes

TRAINER = "gridbroker.examples.train_classifier"
RECEIPT_WAIT_S = 20.0
PROCESS_TIMEOUT_S = 60
_WEIGHTS = re.compile(r"weights sha256 ([0-9a-f]{64})")
_STOPPED = re.compile(r"stopped after step (\d+)")
_RESUMED = re.compile(r"resuming from step (\d+)")


@dataclass(frozen=True, slots=True)
class Steps:
    final: int
    lost: int
    """Steps whose effect is missing from the result."""
    repeated: int
    """Steps done again after a move."""
    same_result: bool
    """The weights are, bit for bit, those of the same training without interruption."""


@dataclass(frozen=True, slots=True)
class Receipt:
    file: Path
    proof_file: Path | None
    verified: bool
    checks: tuple[dict[str, Any], ...]
    document: dict[str, Any]


def check_steps(lines: Sequence[str], view: dict[str, Any]) -> Steps:
    """Compare the run's own words, and its result with that of an uninterrupted run of the same program."""
    text = "\n".join(lines)
    stops = [int(step) for step in _STOPPED.findall(text)]
    resumes = [int(step) for step in _RESUMED.findall(text)]
    final = int((view.get("progress") or {}).get("step") or 0)
    found = _WEIGHTS.search(text)
    pairs = list(zip(stops, resumes, strict=False))
    skipped = sum(max(0, resumed - stopped) for stopped, resumed in pairs)
    return Steps(
        final=final,
        lost=max(0, STEPS - final) + skipped,
        repeated=sum(max(0, stopped - resumed) for stopped, resumed in pairs),
        same_result=found is not None and found.group(1) == _uninterrupted(),
    )


def _uninterrupted() -> str:
    """The weights' hash of the same training in one go, as fast as it can."""
    ran = _run([sys.executable, "-P", "-m", TRAINER, "--steps", str(STEPS)])
    found = _WEIGHTS.search(ran.stdout)
    if found is None:
        raise DemoFailed(f"The training program did not finish: {ran.stderr[-500:]}")
    return found.group(1)


def fetch_and_verify(customer: Client, workload_id: str, folder: Path) -> Receipt:
    """Save the receipt and its inclusion proof, then verify both in a process that has neither server nor database."""
    entry = customer.get("/api/v1/receipts", {"workload_id": workload_id})["data"][0]
    processes.wait_until(lambda: _state(customer, workload_id) != "signed", RECEIPT_WAIT_S)
    file = folder / "receipt.json"
    file.write_bytes(customer.receipt(entry["id"]))
    proof_file = None
    if _state(customer, workload_id) != "signed":
        proof_file = folder / "proof.json"
        proof_file.write_text(json.dumps(customer.proof(entry["id"])))
    key = customer.get("/.well-known/did.json")["assertionMethod"][0]
    command = [sys.executable, "-P", "-m", "gridbroker.app.cli.main", "receipt", "verify", str(file), "--json", "--key", key]
    ran = _run([*command, *(["--proof", str(proof_file)] if proof_file else [])])
    answer = json.loads(ran.stdout.splitlines()[-1]) if ran.stdout.strip() else {"ok": False, "checks": []}
    return Receipt(file, proof_file, ran.returncode == 0 and answer["ok"], tuple(answer["checks"]), json.loads(file.read_bytes()))


def _state(customer: Client, workload_id: str) -> str:
    return customer.get("/api/v1/receipts", {"workload_id": workload_id})["data"][0]["state"]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own interpreter and module
        command, env=plain_environment(), capture_output=True, text=True, timeout=PROCESS_TIMEOUT_S, check=False
    )
