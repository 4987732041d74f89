"""Receipts: what we sign verifies, and no change to it does."""

import copy
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridbroker.settlement import merkle
from gridbroker.settlement.data_integrity import add_proof, canonical, did_key
from gridbroker.settlement.division import divide
from gridbroker.settlement.receipt import issue, pseudonym
from gridbroker.settlement.tree import grow
from gridbroker.settlement.verify import verify
from tests.unit.settlement.build import nothing_ran, statement
from tests.unit.settlement.keys import FixedSigner, w3c_signer

AT = datetime(2026, 3, 20, 15, tzinfo=UTC)
SALT = bytes(range(16))


def _issue(of=None, held=2_000_000) -> dict:
    of = of or statement()
    division = divide(of, held, 1500)
    return issue(
        of,
        division,
        receipt_id=UUID(int=1),
        charge_id=UUID(int=2) if division.charged_micro else None,
        payout_ids=tuple(UUID(int=900 + number) for number in range(len(division.shares))),
        salt=SALT,
        signer=w3c_signer(),
        issuer_url="http://127.0.0.1:8000",
        issued_at=AT,
        software="gridbroker/0.1.0",
    )


def _resigned(receipt: dict) -> dict:
    """The forger has the key: only the arithmetic can give it away."""
    document = {name: value for name, value in receipt.items() if name != "proof"}
    return add_proof(document, w3c_signer(), "2026-03-20T15:00:00Z")


def _failed(receipt, **arguments) -> list[str]:
    return [check.name for check in verify(receipt, **arguments).checks if not check.ok]


@pytest.mark.parametrize("of", [statement(), statement(clock_factor=1), nothing_ran()], ids=["run", "real time", "nothing ran"])
def test_an_issued_receipt_verifies_in_any_form(of):
    receipt = _issue(of)
    for document in (receipt, canonical(receipt), json.dumps(receipt, indent=2).encode()):
        assert _failed(document) == []
    assert verify(receipt).ok


def test_the_receipt_names_its_limits_and_hides_who_ran_what():
    text = canonical(_issue()).decode()
    assert "one second of wall time counted as 60 seconds" in text
    assert "modelled from a typical day" in text
    assert "model of the GPU" in text
    for hidden in (
        statement().workload_id,
        statement().org_id,
        statement().segments[0].node_id,
        statement().segments[0].provider_org_id,
    ):
        assert str(hidden) not in text
    assert pseudonym(statement().workload_id, SALT) in text
    assert text.isascii()


def test_the_key_can_be_pinned():
    assert _failed(_issue(), expected_key=did_key(w3c_signer().public_key)) == []
    assert _failed(_issue(), expected_key=did_key(FixedSigner(bytes(32)).public_key)) == ["key"]
    assert _failed(_issue(), expected_key="nonsense") == ["key"]


def _leaves(value, path=()):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path


def _with(receipt: dict, path: tuple, value: object) -> dict:
    changed = copy.deepcopy(receipt)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed


RECEIPT = _issue()
PATHS = sorted(_leaves(RECEIPT), key=str)


@given(st.sampled_from(PATHS), st.sampled_from(["0", "-1", "1e3", "", "x", None, True, [], {}, "999999999999"]))
@settings(max_examples=150)
def test_no_single_value_can_be_changed(path, value):
    changed = _with(RECEIPT, path, value)
    if changed != RECEIPT:
        assert "signature" in _failed(changed) or "form" in _failed(changed)


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        (("segments", 0, "emissionsMg"), "1", "segments"),
        (("segments", 0, "intensityMgPerKwh"), "1", "segments"),
        (("segments", 0, "facilityMj"), "1", "segments"),
        (("segments", 1, "from"), "2026-03-20T12:30:00.000000Z", "segments"),
        (("segments", 0, "to"), "2026-03-20T15:30:00.000000Z", "segments"),
        (("segments", 0, "from"), "2026-03-20T12:00:00Z", "segments"),
        (("segments", 0, "itMj"), "900000000", "totals"),
        (("energy", "itMj"), "1", "totals"),
        (("emissions", "locationBasedMg"), "1", "totals"),
        (("emissions", "locationBasedMg"), "-5", "totals"),
        (("energy", "kind"), "measured", "quality"),
        (("emissions", "gridQuality"), "measured", "quality"),
        (("counterfactuals", 0, "avoidedMg"), "200000", "counterfactuals"),
        (("counterfactuals", 0, "baseline"), "what_we_like", "counterfactuals"),
        (("cost", "charged"), "1.00", "cost"),
        (("cost", "fee"), "-0.10", "cost"),
        (("cost", "charged"), "NaN", "cost"),
        (("disclosures", 0, "text"), "", "disclosures"),
        (("disclosures",), [], "disclosures"),
        (("clockFactor",), "1.5", "disclosures"),
        (("segments",), None, "segments"),
    ],
)
def test_the_arithmetic_catches_what_a_forger_with_the_key_signs(path, value, check):
    forged = _resigned(_with(RECEIPT, ("credentialSubject", *path), value))
    failed = _failed(forged)
    assert "signature" not in failed
    assert check in failed


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"credentialSubject": 1}',
        b"[" * 100_000,
        b'{"type": ["CarbonReceipt"], "credentialSubject": {"format": "gridbroker-receipt/2"}}',
        b'{"type": ["CarbonReceipt"], "type": ["CarbonReceipt"], "credentialSubject": {"format": "gridbroker-receipt/1"}}',
        b'{"type": ["CarbonReceipt"], "credentialSubject": {"format": "gridbroker-receipt/1", "energy": 1.5}}',
        b'{"type": ["CarbonReceipt"], "credentialSubject": {"format": "gridbroker-receipt/1"}}',
    ],
)
def test_what_is_no_receipt_fails_without_raising(document):
    assert not verify(document).ok


@given(st.integers(1, 9), st.data())
def test_inclusion(size, data):
    index = data.draw(st.integers(0, size - 1))
    leaf = merkle.leaf_hash(canonical(RECEIPT))
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(size)]
    leaves[index] = leaf
    tree = grow(UUID(int=9), leaves, None, AT)
    proof = {
        "leaf_index": index,
        "tree_size": size,
        "path": [one.hex() for one in merkle.proof(leaves, index)],
        "root": tree.root.hex(),
        "previous_root": tree.previous_root.hex(),
        "tree_id": str(tree.tree_id),
        "memo": tree.memo,
    }
    assert _failed(RECEIPT, proof=proof) == []
    for change in (
        {"leaf_index": index + 1},
        {"leaf_index": str(index)},
        {"tree_size": size + 1},
        {"root": "00" * 32},
        {"root": "xyz"},
        {"path": [*proof["path"], "00" * 32]},
        {"memo": tree.memo.replace(tree.root.hex(), "00" * 32)},
        {"memo": None},
    ):
        assert _failed(RECEIPT, proof=proof | change) == ["inclusion"]
    assert "inclusion" in _failed(_issue(nothing_ran()), proof=proof)


def test_the_verifier_needs_neither_server_nor_database():
    import subprocess
    import sys

    code = (
        "import sys, gridbroker.settlement.verify; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'sqlalchemy', 'asyncpg', 'litestar', 'msgspec', 'asyncio'}))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
