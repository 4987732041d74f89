"""Receipts are verified offline: in a process without server, database or HTTP client."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from gridbroker.settlement.data_integrity import canonical, did_key
from gridbroker.settlement.division import divide
from gridbroker.settlement.receipt import issue
from tests.unit.settlement.build import statement
from tests.unit.settlement.keys import w3c_signer


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    of = statement()
    division = divide(of, 2_000_000, 1500)
    document = issue(
        of,
        division,
        receipt_id=UUID(int=1),
        charge_id=UUID(int=2),
        payout_ids=tuple(UUID(int=900 + number) for number in range(len(division.shares))),
        salt=b"s" * 16,
        signer=w3c_signer(),
        issuer_url="http://127.0.0.1:8000",
        issued_at=datetime(2026, 3, 20, 15, tzinfo=UTC),
        software="gridbroker/0.1.0",
    )
    path = tmp_path / "receipt.json"
    path.write_bytes(canonical(document))
    return path


@pytest.mark.parametrize("name", ["receipts", "receipt"])
def test_a_good_receipt_exits_with_0_and_lists_each_check(offline: Callable, receipt: Path, name: str):
    said = offline(name, "verify", str(receipt))
    assert said.code == 0
    assert all(check in said.out for check in ("signature", "segments", "totals", "counterfactuals", "cost"))
    assert said.out.endswith("verified\n") and "FAILED" not in said.out


def test_a_changed_receipt_exits_with_1_and_names_the_check(offline: Callable, receipt: Path):
    receipt.write_bytes(receipt.read_bytes().replace(b'"moves":"1"', b'"moves":"2"'))
    said = offline("receipts", "verify", str(receipt), "--json")
    assert said.code == 1
    assert [check["name"] for check in said.json["checks"] if not check["ok"]] == ["signature"]


def test_the_key_and_the_proof_are_checked_when_given(offline: Callable, receipt: Path, tmp_path: Path):
    key = did_key(w3c_signer().public_key)
    assert offline("receipts", "verify", str(receipt), "--key", key).code == 0
    other = did_key(bytes(32))
    assert offline("receipts", "verify", str(receipt), "--key", other).code == 1
    proof = tmp_path / "proof.json"
    for content in ("{}", "[]", "nonsense", "[" * 100_000):
        proof.write_text(content)
        said = offline("receipts", "verify", str(receipt), "--proof", str(proof), "--json")
        assert said.code == 1
        assert [check["name"] for check in said.json["checks"] if not check["ok"]] == ["inclusion"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_receipt_is_not_verified(offline: Callable, tmp_path: Path, content: bytes):
    (tmp_path / "r.json").write_bytes(content)
    assert offline("receipts", "verify", str(tmp_path / "r.json")).code == 1


def test_a_file_that_is_not_there_is_a_usage_error(offline: Callable):
    assert offline("receipts", "verify", "/nowhere/receipt.json").code == 2


def test_it_needs_no_server_no_database_and_no_http_client(receipt: Path):
    code = """
import socket, sys
socket.socket = None
for name in ("httpx", "sqlalchemy", "asyncpg", "litestar", "redis", "gridbroker_sdk", "structlog"):
    sys.modules[name] = None  # importing it fails from here on
from gridbroker.app.cli.main import run
sys.exit(run(["receipts", "verify", sys.argv[1], "--json"]))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code, str(receipt)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"] is True
