"""`gridbroker nodes`: one-time tokens, list, show, drain, undrain."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import typer

from gridbroker.app.cli import output, session, words
from gridbroker.app.cli.config import DEFAULT_PROFILE
from gridbroker.app.cli.options import AsJson, Id, Limit, ProfileName, Url
from gridbroker.app.cli.secrets import show_once

app = typer.Typer(help="Your nodes, as a provider.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def token(
    ttl_s: Annotated[int | None, typer.Option("--ttl-s", help="Valid for this many seconds.", show_default=False)] = None,
    org: Annotated[UUID | None, typer.Option("--org", help="The provider; for admins only.", show_default=False)] = None,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """Make a one-time token that admits one node; shown once."""
    fields = {name: value for name, value in (("ttl_s", ttl_s), ("org_id", org and str(org))) if value is not None}
    with session.connect(profile, url) as client:
        created = client.node_token(**fields)
    show_once(created, "token", as_json=as_json, retry="gridbroker nodes token")
    if not as_json:
        output.say(f"Valid until {words.at(created['expires_at'])}, for one registration, on the node's machine:")
        output.say(
            f"  GRIDBROKER_REGISTRATION_TOKEN=... gridbroker agent --server {client.url} --name NAME --zone ZONE --gpu-model MODEL"
        )


@app.command("list")
def list_(limit: Limit = 50, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """List nodes with their health."""
    with session.connect(profile, url) as client:
        found = client.listing("/api/v1/nodes", limit=limit)
    output.listing(
        found,
        ["id", "name", "zone", "tier", "gpus", "free", "eur/gpu-hour", "energy", "health", "load", "last seen"],
        _row,
        as_json=as_json,
        hint="No nodes. Make a token for one: gridbroker nodes token",
        clock_factor=client.clock_factor,
    )


@app.command()
def show(node_id: Id, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """Show a node and the last outcome of each of its checks."""
    with session.connect(profile, url) as client:
        view = client.node(node_id)
    _show(view, as_json, client.clock_factor)


@app.command()
def drain(node_id: Id, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """Give a node no new workloads; those there run on."""
    with session.connect(profile, url) as client:
        view = client.drain(node_id)
    _show(view, as_json, client.clock_factor)


@app.command()
def undrain(node_id: Id, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """Let a node take workloads again."""
    with session.connect(profile, url) as client:
        view = client.undrain(node_id)
    _show(view, as_json, client.clock_factor)


def _row(view: Mapping[str, Any]) -> list[object]:
    return [
        view["id"],
        view["name"],
        view["zone"],
        view["tier"],
        f"{view['gpu_count']} x {view['gpu_model']}",
        len(view["free_gpus"]),
        view["price_eur_per_gpu_hour"],
        view["energy_kind"],
        _health(view),
        words.percent(view["utilisation"]),
        words.at(view["last_seen_at"]),
    ]


def _show(view: Mapping[str, Any], as_json: bool, clock_factor: int) -> None:
    if as_json:
        output.put_json(view)
        return
    output.fields(
        {
            "Node": f"{view['name']} ({view['id']})",
            "Zone": view["zone"],
            "Tier": view["tier"],
            "GPUs": f"{view['gpu_count']} x {view['gpu_model']}, {len(view['free_gpus'])} free",
            "Price": f"{view['price_eur_per_gpu_hour']} EUR per GPU-hour",
            "PUE": view["pue"],
            "Energy": view["energy_kind"],
            "Health": _health(view),
            "Last seen": words.at(view["last_seen_at"]),
            "Utilisation": words.percent(view["utilisation"]),
            "Spooled": view["spool_backlog"],
        },
        clock_factor=clock_factor,
    )
    if view["checks"]:
        output.put()
        rows = [[one["kind"], "ok" if one["ok"] else "failing", words.at(one["at"]), one["detail"]] for one in view["checks"]]
        output.table(["check", "outcome", "since", "detail"], rows)


def _health(view: Mapping[str, Any]) -> str:
    return str(view["health"]) + (", draining" if view["draining"] and view["health"] != "draining" else "")
