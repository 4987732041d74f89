"""`gridbroker keys` and `gridbroker orgs`: who may call, and for whom."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from gridbroker.app.cli import output, session, words
from gridbroker.app.cli.config import DEFAULT_PROFILE
from gridbroker.app.cli.options import AsJson, Id, Limit, ProfileName, Url
from gridbroker.app.cli.secrets import show_once

app = typer.Typer(help="API keys of your organisation.", no_args_is_help=True, rich_markup_mode=None)
orgs = typer.Typer(help="Organisations; for admins.", no_args_is_help=True, rich_markup_mode=None)


class KeyRole(StrEnum):
    DEVELOPER = "developer"
    DATACENTER = "datacenter"
    GAMER = "gamer"
    RECYCLER = "recycler"
    FINANCE = "finance"
    ADMIN = "admin"


class KeyScope(StrEnum):
    READ = "read"
    WRITE = "write"


class Kind(StrEnum):
    DEVELOPER = "developer"
    DATACENTER = "datacenter"
    GAMER = "gamer"
    RECYCLER = "recycler"
    PLATFORM = "platform"


Name = Annotated[str, typer.Option("--name", help="What you will know it by.", show_default=False)]


@app.command()
def create(
    name: Name,
    role: Annotated[KeyRole, typer.Option("--role", show_default=False)],
    scope: Annotated[
        list[KeyScope] | None, typer.Option("--scope", help="Repeat for more; default: all.", show_default=False)
    ] = None,
    expires_in_days: Annotated[int | None, typer.Option("--expires-in-days", show_default=False)] = None,
    org: Annotated[UUID | None, typer.Option("--org", help="For admins: whose key it is.", show_default=False)] = None,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """Create an API key; its secret is shown once, on stdout."""
    fields: dict[str, Any] = {"name": name, "role": role}
    if scope:
        fields["scopes"] = scope
    if expires_in_days is not None:
        fields["expires_in_days"] = expires_in_days
    if org is not None:
        fields["org_id"] = str(org)
    with session.connect(profile, url) as client:
        created = client.create_key(**fields)
    show_once(created, "secret", as_json=as_json, retry="gridbroker keys create (and revoke this one)")


@app.command("list")
def list_(limit: Limit = 50, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """List API keys, newest first; never their secrets."""
    with session.connect(profile, url) as client:
        found = client.listing("/api/v1/keys", limit=limit)
    columns = ["id", "name", "role", "scopes", "prefix", "created", "expires", "revoked", "last used"]
    output.listing(found, columns, _key, as_json=as_json, hint="No keys.")


@app.command()
def rotate(
    key_id: Id,
    overlap_minutes: Annotated[int, typer.Option("--overlap-minutes", min=0, help="How long the old one still works.")] = 60,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """Replace an API key; the new secret is shown once, on stdout."""
    with session.connect(profile, url) as client:
        created = client.rotate_key(key_id, overlap_minutes)
    show_once(created, "secret", as_json=as_json, retry=f"gridbroker keys rotate {created['id']}")


@app.command()
def revoke(key_id: Id, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """End an API key at once."""
    with session.connect(profile, url) as client:
        client.revoke_key(key_id)
    if as_json:
        output.put_json({"id": str(key_id), "revoked": True})
    else:
        output.say(f"Revoked {key_id}.")


@orgs.command("create")
def create_org(
    name: Name,
    kind: Annotated[Kind, typer.Option("--kind", show_default=False)],
    home_zone: Annotated[str | None, typer.Option("--home-zone", help="Baseline of its workloads.", show_default=False)] = None,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """Create an organisation."""
    with session.connect(profile, url) as client:
        created = client.create_organisation(name=name, kind=kind, home_zone=home_zone)
    if as_json:
        output.put_json(created)
        return
    output.put(created["id"])
    output.say(f"Next: gridbroker keys create --org {created['id']} --name first --role {_first_role(kind)}")


@orgs.command("list")
def list_orgs(limit: Limit = 50, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """List organisations, newest first."""
    with session.connect(profile, url) as client:
        found = client.listing("/api/v1/organisations", limit=limit)
    output.listing(
        found,
        ["id", "name", "kind", "home zone", "created"],
        lambda one: [one["id"], one["name"], one["kind"], one["home_zone"], words.at(one["created_at"])],
        as_json=as_json,
        hint="No organisations.",
    )


def _key(one: Mapping[str, Any]) -> list[object]:
    times = [words.at(one[name]) for name in ("created_at", "expires_at", "revoked_at", "last_used_at")]
    return [one["id"], one["name"], one["role"], " ".join(one["scopes"]), one["prefix"], *times]


def _first_role(kind: Kind) -> str:
    return "admin" if kind is Kind.PLATFORM else kind
