"""A workload as the API takes it, from flags, from a file, or from a file with flags over it."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from gridbroker.core.errors import FieldError, Invalid

CHECKPOINT_FLAGS = ("signal", "interval_s", "size_mib", "grace_s")


class BadDescription(Invalid):
    code, title = "bad_description", "The workload's description cannot be used"


def describe(file: Path | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The request body. `flags` that are None, False or empty do not count. Raises BadDescription."""
    body = read(file) if file else {}
    given = {name: value for name, value in flags.items() if value is not None and value is not False and value not in ([], ())}
    checkpoint = {name: given.pop(name) for name in CHECKPOINT_FLAGS if name in given}
    honours = given.pop("checkpoint", False)
    currency = given.pop("currency", "EUR")
    if "budget" in given:
        given["budget"] = {"amount": given["budget"], "currency": currency}
    if "environment" in given:
        given["environment"] = {**body.get("environment", {}), **variables(given["environment"])}
    body |= given
    if honours or checkpoint:
        body["checkpoint"] = {**(body.get("checkpoint") or {}), **checkpoint}
    _require(body)
    return body


def read(file: Path) -> dict[str, Any]:
    """A .json or .toml file's object."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadDescription(f"{file}: {error.strerror}.") from None
    try:
        loaded = json.loads(content) if file.suffix == ".json" else tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise BadDescription(f"{file}: {error}.") from None
    if not isinstance(loaded, dict):
        raise BadDescription(f"{file}: must hold one object.")
    return {name: _plain(value) for name, value in loaded.items()}


def variables(pairs: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE pairs as a mapping."""
    wrong = [pair for pair in pairs if not pair.partition("=")[1] or not pair.partition("=")[0]]
    if wrong:
        # Not the pair itself: what follows the sign may be a secret.
        raise BadDescription("--env takes NAME=VALUE.", errors=[FieldError("/environment", "one has no name or no =")])
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _plain(value: Any) -> Any:
    """TOML's times as RFC 3339; what has no offset stays without, for the server to refuse."""
    match value:
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat()
        case datetime() | date() | time():
            return value.isoformat()
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case _:
            return value


def _require(body: Mapping[str, Any]) -> None:
    """Say what is missing in the words of the flags; all else is the server's to judge."""
    missing = [
        FieldError(f"/{name}", f"missing: give --{name}, or `{name}` in the file")
        for name in ("name", "budget")
        if name not in body
    ]
    if "command" not in body and "image" not in body:
        missing.append(FieldError("/command", "missing: put the command after --, or give --image"))
    if missing:
        raise BadDescription("; ".join(one.detail for one in missing) + ".", errors=missing)
