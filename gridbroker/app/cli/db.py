"""`gridbroker db`: the schema of a database of your own. The embedded one is migrated by `gridbroker up`."""

from collections.abc import Callable
from typing import TypeVar

import typer

from gridbroker.app.cli import output
from gridbroker.app.cli.exits import Exit
from gridbroker.app.cli.options import AsJson
from gridbroker.core.errors import Invalid, Unavailable

app = typer.Typer(help="The schema of the database in GRIDBROKER_DATABASE_URL.", no_args_is_help=True, rich_markup_mode=None)
T = TypeVar("T")


class NoDatabase(Invalid):
    code, title = "no_database", "No database is named"


class DatabaseUnreachable(Unavailable):
    code, title = "database_unreachable", "The database does not answer"


@app.command()
def upgrade(as_json: AsJson = False) -> None:
    """Run the migrations that are missing."""
    from gridbroker.app import migrate  # noqa: PLC0415 - heavy, as all that follows

    revision = _ask(migrate.upgrade)
    output.put_json({"revision": revision}) if as_json else output.put(revision)


@app.command()
def revision(as_json: AsJson = False) -> None:
    """Show the revision that the database is at."""
    from gridbroker.app import migrate  # noqa: PLC0415

    found = _ask(migrate.revision)
    if as_json:
        output.put_json({"revision": found})
    elif found is None:
        output.say("The database is empty. Next: gridbroker db upgrade")
    else:
        output.put(found)


@app.command()
def check(as_json: AsJson = False) -> None:
    """Compare the database with the tables that this version expects. Exits with 1 when they differ."""
    from gridbroker.app import migrate  # noqa: PLC0415

    found = _ask(migrate.differences)
    if as_json:
        output.put_json({"ok": not found, "differences": found})
    else:
        for one in found:
            output.put(one)
        output.say("They differ. Next: gridbroker db upgrade" if found else "The database matches.")
    if found:
        raise typer.Exit(Exit.FAILURE)


@app.command("admin-key")
def admin_key(as_json: AsJson = False) -> None:
    """Make the first admin key of an installation, shown once. Where there is one already, nothing is made."""
    from gridbroker.app.admin import ensure_admin_now  # noqa: PLC0415
    from gridbroker.core.settings import load  # noqa: PLC0415

    secret = _ask(lambda _url: ensure_admin_now(load()))
    if as_json:
        output.put_json({"admin_key": secret})
    elif secret is None:
        output.say("There is an admin key already. Its holder makes more with: gridbroker keys create")
    else:
        output.put(secret)


def _ask(action: Callable[[str], T]) -> T:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from gridbroker.core.settings import load  # noqa: PLC0415

    url = load().database_url
    if url is None:
        raise NoDatabase("Set GRIDBROKER_DATABASE_URL; the embedded database is migrated by `gridbroker up`.")
    try:
        return action(url)
    except (SQLAlchemyError, OSError) as error:
        raise DatabaseUnreachable(
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no detail'}."
        ) from error
