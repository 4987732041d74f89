"""Check a receipt with nothing but the receipt: no server, no database, no network.

Every figure that can be derived again is: the signature, each segment's emissions, the totals, what was avoided, the money. With a
proof, also that the receipt is in the batch whose root was anchored. Whether the key is the issuer's is for the reader to decide:
pass `expected_key`, taken from the issuer's `/.well-known/did.json`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from gridbroker.core.money import parse_micro
from gridbroker.core.units import emissions_mg
from gridbroker.settlement import disclosure, merkle
from gridbroker.settlement.data_integrity import BadProof, canonical, check_proof, did_key, key_of_method
from gridbroker.settlement.tree import memo

FORMAT = "gridbroker-receipt/1"
MAX_BYTES = 16 * 1024 * 1024
BASELINES = frozenset({"home_zone", "uniform_feasible", "best_fixed_zone"})
_WEAKNESS = {"measured": 0, "estimated": 1, "forecast": 2, "modelled": 3}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,30})", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    ok: bool
    checks: tuple[Check, ...]


class _Wrong(ValueError):
    """What a check found; its text is the check's detail."""


def verify(
    document: bytes | Mapping[str, Any], *, proof: Mapping[str, Any] | None = None, expected_key: str | None = None
) -> Verification:
    """Run every check; never raises for a bad receipt. `proof` is the answer of `/receipts/{id}/proof`.

    `expected_key` is a did:key.
    """
    form = _run("form", lambda: _check_form(document))
    if not form.ok:
        return Verification(False, (form,))
    receipt = _read(document)
    subject: dict[str, Any] = receipt["credentialSubject"]
    checks = [
        form,
        _run("signature", lambda: _check_signature(receipt)),
        _run("segments", lambda: _check_segments(subject)),
        _run("totals", lambda: _check_totals(subject)),
        _run("quality", lambda: _check_quality(subject)),
        _run("counterfactuals", lambda: _check_counterfactuals(subject)),
        _run("cost", lambda: _check_cost(subject)),
        _run("disclosures", lambda: _check_disclosures(subject)),
    ]
    if expected_key is not None:
        checks.append(_run("key", lambda: _check_key(receipt, expected_key)))
    if proof is not None:
        checks.append(_run("inclusion", lambda: _check_inclusion(receipt, proof)))
    return Verification(all(check.ok for check in checks), tuple(checks))


def _run(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except _Wrong as wrong:
        return Check(name, False, str(wrong))
    except KeyError as missing:
        return Check(name, False, f"{missing.args[0]} is missing")
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        return Check(name, False, f"malformed: {error}")


def _read(document: bytes | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(document, Mapping):
        return dict(document)
    if len(document) > MAX_BYTES:
        raise _Wrong("the file is too large for a receipt")
    value = json.loads(document, object_pairs_hook=_unique, parse_float=_refuse_number, parse_int=_refuse_number)
    if not isinstance(value, dict):
        raise _Wrong("the file is not a JSON object")
    return cast("dict[str, Any]", value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two members of one name would let two readers see two receipts."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Wrong("a name occurs twice in one object")
    return dict(pairs)


def _refuse_number(text: str) -> Any:
    raise _Wrong(f"{text[:30]} is a JSON number; quantities are strings")


def _check_form(document: bytes | Mapping[str, Any]) -> str:
    receipt = _read(document)
    subject = receipt["credentialSubject"]
    if subject["format"] != FORMAT or "CarbonReceipt" not in receipt["type"]:
        raise _Wrong(f"this is not a {FORMAT}")
    text = canonical(receipt)
    exact = isinstance(document, bytes) and document == text
    return "canonical JSON (RFC 8785)" if exact else "readable; its canonical form (RFC 8785) is what was signed"


def _check_signature(receipt: Mapping[str, Any]) -> str:
    try:
        key = check_proof(receipt)
    except BadProof as bad:
        raise _Wrong(str(bad)) from None
    if receipt["issuer"]["id"] != did_key(key):
        raise _Wrong("the key that signed is not the issuer's")
    return f"signed by {did_key(key)}; compare with {receipt['issuer']['url']}/.well-known/did.json"


def _check_key(receipt: Mapping[str, Any], expected_key: str) -> str:
    if key_of_method(receipt["proof"]["verificationMethod"]) != key_of_method(expected_key):
        raise _Wrong("signed with another key than expected")
    return "signed with the expected key"


def _check_segments(subject: Mapping[str, Any]) -> str:
    start, end = _interval(subject["interval"])
    ends: dict[str, datetime] = {}
    for number, segment in enumerate(subject["segments"], 1):
        from_at, to_at = _interval(segment)
        if not (start <= from_at <= to_at <= end) or to_at - from_at > _HOUR:
            raise _Wrong(f"segment {number} does not lie within the interval and one hour")
        if from_at < ends.get(segment["placement"], start):
            raise _Wrong(f"segment {number} overlaps an earlier one of its placement")
        ends[segment["placement"]] = to_at
        facility_mj, intensity = _count(segment["facilityMj"]), _count(segment["intensityMgPerKwh"])
        if facility_mj < _count(segment["itMj"]):
            raise _Wrong(f"segment {number} has less facility energy than IT energy")
        expected = emissions_mg(facility_mj, intensity)
        if _count(segment["emissionsMg"]) != expected:
            raise _Wrong(f"segment {number} states {segment['emissionsMg']} mg, its energy times its intensity is {expected} mg")
    return f"{len(subject['segments'])} segments: emissions are energy times intensity, exactly"


def _check_totals(subject: Mapping[str, Any]) -> str:
    totals = {
        "itMj": _count(subject["energy"]["itMj"]),
        "facilityMj": _count(subject["energy"]["facilityMj"]),
        "emissionsMg": _count(subject["emissions"]["locationBasedMg"]),
    }
    for name, total in totals.items():
        found = sum(_count(segment[name]) for segment in subject["segments"])
        if found != total:
            raise _Wrong(f"{name} totals {total}, its segments sum to {found}")
    return f"segments sum to {totals['facilityMj']} mJ and {totals['emissionsMg']} mg CO2e"


def _check_quality(subject: Mapping[str, Any]) -> str:
    segments = subject["segments"]
    energy = _weakest(segment["energyKind"] for segment in segments)
    grid = _weakest(segment["intensityQuality"] for segment in segments)
    if subject["energy"]["kind"] != energy or subject["emissions"]["gridQuality"] != grid:
        raise _Wrong(f"the weakest segment makes the energy {energy} and the grid {grid}; the receipt says otherwise")
    return f"energy {energy}, grid {grid}"


def _weakest(kinds: Iterable[str]) -> str:
    """The kind that claims least; one that is not known here claims nothing."""
    return max(kinds, key=lambda kind: _WEAKNESS.get(kind, len(_WEAKNESS)), default="none")


def _check_counterfactuals(subject: Mapping[str, Any]) -> str:
    actual = _count(subject["emissions"]["locationBasedMg"])
    for one in subject["counterfactuals"]:
        if one["baseline"] not in BASELINES or not isinstance(one["complete"], bool):
            raise _Wrong(f"{one['baseline']!r} is not a known baseline")
        if _integer(one["avoidedMg"]) != _count(one["emissionsMg"]) - actual:
            raise _Wrong(f"{one['baseline']}: avoided is not baseline minus actual")
    return "avoided = baseline - actual for " + (", ".join(one["baseline"] for one in subject["counterfactuals"]) or "no baseline")


def _check_cost(subject: Mapping[str, Any]) -> str:
    cost = subject["cost"]
    charged, fee = parse_micro(cost["charged"]), parse_micro(cost["fee"])
    payouts = [parse_micro(payout["amount"]) for payout in cost["payouts"]]
    if min([charged, fee, *payouts]) < 0 or charged > parse_micro(cost["cost"]):
        raise _Wrong("more was charged than the cost, or an amount is negative")
    if charged != fee + sum(payouts):
        raise _Wrong("the charge is not the fee plus the payouts")
    return f"{cost['charged']} {cost['currency']} charged = fee + {len(payouts)} payouts"


def _check_disclosures(subject: Mapping[str, Any]) -> str:
    needed = disclosure.required(
        clock_factor=_count(subject["clockFactor"]),
        grid_quality=subject["emissions"]["gridQuality"],
        energy_kind=subject["energy"]["kind"],
        baselines_complete=all(one["complete"] for one in subject["counterfactuals"]),
    )
    missing = set(needed) - {one["code"] for one in subject["disclosures"] if one["text"]}
    if missing:
        raise _Wrong(f"limits are not stated: {', '.join(sorted(missing))}")
    return ", ".join(needed) or "no limits to state"


def _check_inclusion(receipt: Mapping[str, Any], proof: Mapping[str, Any]) -> str:
    leaf = merkle.leaf_hash(canonical(receipt))
    index, size = proof["leaf_index"], proof["tree_size"]
    if type(index) is not int or type(size) is not int:
        raise _Wrong("leaf_index and tree_size are whole numbers")
    path, root = [bytes.fromhex(one) for one in proof["path"]], bytes.fromhex(proof["root"])
    if not merkle.includes(leaf, index, size, path, root):
        raise _Wrong("the receipt is not in the tree with this root")
    if proof["memo"] != memo(proof["tree_id"], size, root, bytes.fromhex(proof["previous_root"])):
        raise _Wrong("the anchored memo names another tree")
    return f"leaf {index} of {size} under {root.hex()}"


def _interval(of: Mapping[str, Any]) -> tuple[datetime, datetime]:
    return _time(of["from"]), _time(of["to"])


def _time(text: object) -> datetime:
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise _Wrong(f"{text!r} is not a UTC time with microseconds")
    return datetime.fromisoformat(text)


def _integer(text: object) -> int:
    if not isinstance(text, str) or not _INTEGER.fullmatch(text):
        raise _Wrong(f"{text!r} is not a whole number in a string")
    return int(text)


def _count(text: object) -> int:
    number = _integer(text)
    if number < 0:
        raise _Wrong(f"{text} is negative")
    return number
