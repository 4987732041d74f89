"""`gridbroker receipts`: list, show and prove with the server, verify without it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gridbroker.app.cli import output, session, words
from gridbroker.app.cli.config import DEFAULT_PROFILE
from gridbroker.app.cli.options import AsJson, Id, Limit, ProfileName, Url, WorkloadFilter
from gridbroker.app.cli.verify import verify

app = typer.Typer(help="Carbon receipts and their proofs.", no_args_is_help=True, rich_markup_mode=None)
app.command()(verify)

SaveTo = Annotated[
    Path | None, typer.Option("--output", "-o", help="Save it here, byte for byte, instead of showing it.", show_default=False)
]


@app.command("list")
def list_(
    workload: WorkloadFilter = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """List receipts, newest first."""
    with session.connect(profile, url) as client:
        found = client.listing("/api/v1/receipts", {"workload_id": workload}, limit=limit)
    output.listing(
        found,
        ["id", "workload", "state", "created"],
        lambda one: [one["id"], one["workload_id"], one["state"], words.at(one["created_at"])],
        as_json=as_json,
        hint="No receipts. Each workload gets one when it has ended.",
        clock_factor=client.clock_factor,
    )


@app.command()
def show(
    receipt_id: Id, save_to: SaveTo = None, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE
) -> None:
    """Show a receipt, or save it with --output to verify it anywhere."""
    with session.connect(profile, url) as client:
        document = client.receipt(receipt_id)
    if save_to is not None:
        _save(save_to, document, as_json, "gridbroker receipts verify")
    elif as_json:
        print(document.decode(), flush=True)
    else:
        _show(json.loads(document)["credentialSubject"])


@app.command()
def proof(
    receipt_id: Id, save_to: SaveTo = None, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE
) -> None:
    """Show that a receipt is in a tree whose root is anchored."""
    with session.connect(profile, url) as client:
        found = client.proof(receipt_id)
    if save_to is not None:
        _save(save_to, json.dumps(found, indent=2).encode() + b"\n", as_json, "gridbroker receipts verify RECEIPT --proof")
    elif as_json:
        output.put_json(found)
    else:
        output.fields(
            {
                "Receipt": found["receipt_id"],
                "Leaf": f"{found['leaf_index']} of {found['tree_size']}: {found['leaf_hash']}",
                "Root": found["root"],
                "Memo": found["memo"],
                "Anchored as": found["anchor_id"] or "not yet",
            }
        )


def _save(path: Path, content: bytes, as_json: bool, command: str) -> None:
    path.write_bytes(content)
    if as_json:
        output.put_json({"file": str(path)})
    else:
        output.say(f"Saved {path}. Next: {command} {path}")


def _show(subject: Mapping[str, Any]) -> None:
    energy, emissions, cost = subject["energy"], subject["emissions"], subject["cost"]
    output.fields(
        {
            "Interval": f"{words.at(subject['interval']['from'])} to {words.at(subject['interval']['to'])}",
            "Energy": f"{words.kwh(energy['itMj'])} {energy['kind']} at the GPUs, {words.kwh(energy['facilityMj'])} at the site",
            "Emissions": f"{words.grams(emissions['locationBasedMg'])}, grid {emissions['gridQuality']}",
            "Charged": f"{cost['charged']} {cost['currency']}",
        },
        clock_factor=int(subject["clockFactor"]),
    )
    output.put()
    rows = [
        [one["baseline"], words.grams(one["emissionsMg"]), words.grams(one["avoidedMg"]), "yes" if one["complete"] else "no"]
        for one in subject["counterfactuals"]
    ]
    output.table(["baseline", "would have emitted", "avoided", "complete"], rows)
    for one in subject["disclosures"]:
        output.say(f"Note: {one['text']}")
