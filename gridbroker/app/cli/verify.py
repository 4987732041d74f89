"""`gridbroker receipts verify`: offline. Needs the receipt and this program, no server, no database, no network."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gridbroker.app.cli import output
from gridbroker.app.cli.exits import Exit
from gridbroker.app.cli.options import AsJson

ExpectedKey = Annotated[
    str | None,
    typer.Option("--key", help="The issuer's did:key, from its /.well-known/did.json; without it any key may have signed."),
]


def verify(
    file: Annotated[Path, typer.Argument(help="The receipt.", exists=True, dir_okay=False, show_default=False)],
    proof: Annotated[
        Path | None, typer.Option("--proof", help="Its proof of inclusion.", exists=True, dir_okay=False, show_default=False)
    ] = None,
    key: ExpectedKey = None,
    as_json: AsJson = False,
) -> None:
    """Check a receipt offline, every figure derived again. Exits with 0 when all checks hold, else 1."""
    from gridbroker.settlement import verify as rules  # noqa: PLC0415 - only this command needs them

    with file.open("rb") as opened:
        document = opened.read(rules.MAX_BYTES + 1)
    found = rules.verify(document, proof=_read_proof(proof) if proof else None, expected_key=key)
    if as_json:
        output.put_json(asdict(found))
    else:
        rows = [["ok" if one.ok else "FAILED", one.name, one.detail] for one in found.checks]
        output.table(["result", "check", "detail"], rows)
        output.put("verified" if found.ok else "NOT verified")
        if found.ok and key is None:
            output.say("Whose key signed it is for you to judge: compare it with the issuer's, or pass --key.")
    if not found.ok:
        raise typer.Exit(Exit.FAILURE)


def _read_proof(file: Path) -> dict[str, Any]:
    """What is no JSON object proves nothing: verification then says what is missing."""
    try:
        loaded = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
