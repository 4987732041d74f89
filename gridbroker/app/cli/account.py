"""`gridbroker login`, `logout` and `whoami`."""

import getpass
import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from gridbroker.app.cli import config, output, session
from gridbroker.app.cli.options import AsJson, ProfileName, Url
from gridbroker.core.errors import Invalid

KeyStdin = Annotated[bool, typer.Option("--key-stdin", help="Read the key from stdin instead of asking for it.")]


class NoTerminal(Invalid):
    code, title = "no_terminal", "There is no terminal to ask for the key on"


def login(
    url: Url = None, key_stdin: KeyStdin = False, profile: ProfileName = config.DEFAULT_PROFILE, as_json: AsJson = False
) -> None:
    """Check an API key and save it, readable by you alone. A key is never a flag: other users could see it."""
    address = config.resolve(profile, url).url
    secret = _ask_for_key(key_stdin)
    with session.client(address, secret) as client:
        me = client.whoami()
    path = config.save(profile, config.Profile(address, secret))
    if as_json:
        output.put_json({"profile": profile, "url": address, "file": str(path), **me})
        return
    output.say(f"Logged in to {address} as {me['role']} of {me['organisation']['name']}; saved in {path}.")
    if urlsplit(address).scheme == "http" and not _is_local(address):
        output.say("Warning: this address is not encrypted; whoever is on the way can read the key.")


def logout(profile: ProfileName = config.DEFAULT_PROFILE, as_json: AsJson = False) -> None:
    """Remove a saved key from this machine. It stays valid; `gridbroker keys revoke` ends it."""
    removed = config.forget(profile)
    if as_json:
        output.put_json({"profile": profile, "removed": removed})
    else:
        output.say("Removed." if removed else "There was no saved key.")


def whoami(url: Url = None, profile: ProfileName = config.DEFAULT_PROFILE, as_json: AsJson = False) -> None:
    """Show the organisation and role behind the key in use."""
    with session.connect(profile, url) as client:
        me = client.whoami()
    if as_json:
        output.put_json(me)
        return
    mine = me["organisation"]
    output.fields(
        {
            "Server": client.url,
            "Organisation": f"{mine['name']} ({mine['kind']})",
            "Organisation id": mine["id"],
            "Role": me["role"],
            "Scopes": ", ".join(me["scopes"]),
            "Home zone": mine["home_zone"],
            "Key id": me["key_id"],
        }
    )


def _ask_for_key(key_stdin: bool) -> str:
    if key_stdin:
        return sys.stdin.readline().strip()
    if not sys.stdin.isatty():
        raise NoTerminal("Pipe the key in and say --key-stdin.")
    return getpass.getpass("API key: ").strip()


def _is_local(url: str) -> bool:
    from gridbroker_sdk import is_loopback  # noqa: PLC0415 - the client is loaded by then

    return is_loopback(url)
