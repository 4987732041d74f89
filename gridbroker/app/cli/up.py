"""`gridbroker up`: the whole product on one machine, until Ctrl-C."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridbroker.app.cli import output
from gridbroker.app.cli.options import AsJson
from gridbroker.core.errors import Unavailable

if TYPE_CHECKING:
    from gridbroker.app.supervisor import StackEvent
    from gridbroker.core.settings import Settings


class ServersUnreachable(Unavailable):
    code, title = "start_failed", "The database cannot be used"


DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Databases, blobs, keys and logs live here.", show_default=False)]


def up(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0 takes any free one.", show_default=False)] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Worker processes.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Start databases, API, worker and scheduler, and keep them running until Ctrl-C.

    Prints the address and, at the first start of a data folder, an admin API key. GRIDBROKER_* variables set everything else.
    """
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - heavy, as all that follows, and only this command needs them

    from gridbroker.app.admin import ensure_admin_now  # noqa: PLC0415
    from gridbroker.app.stack import Stack  # noqa: PLC0415
    from gridbroker.core import log  # noqa: PLC0415

    settings = _settings(data_dir=data_dir, api_host=host, api_port=port)
    log.configure(settings.log_level, json=settings.log_json)
    try:
        stack = Stack.start(settings, workers=workers, on_event=_tell)
    except (SQLAlchemyError, ConnectionError) as error:
        raise ServersUnreachable(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
    with stack:
        _announce(stack.url, ensure_admin_now(stack.settings), stack.settings.data_dir, as_json)
        stack.wait()
        output.say("Stopping ...")


def _settings(**overrides: Any) -> "Settings":
    from gridbroker.core.settings import load  # noqa: PLC0415

    return load(**{name: value for name, value in overrides.items() if value is not None})


def _announce(url: str, admin_key: str | None, data_dir: Path, as_json: bool) -> None:
    if as_json:
        output.put_json({"url": url, "admin_key": admin_key, "pid": os.getpid(), "data_dir": str(data_dir)})
        return
    output.put(f"URL        {url}")
    if admin_key is not None:
        output.put(f"Admin key  {admin_key}")
        output.say(f"The key is shown this once. Next, elsewhere: gridbroker login --url {url}")
    output.say(f"API docs: {url}/docs. Data: {data_dir}. Ctrl-C stops everything.")


def _tell(event: "StackEvent") -> None:
    """A child that died or came back; from the supervisor's thread."""
    words = {"ended": "ended", "restarted": "runs again", "restart_failed": "could not be started again"}
    code = "" if event.exit_code is None else f" with {event.exit_code}"
    detail = f": {event.detail}" if event.detail else ""
    output.say(f"{event.name} (process {event.pid}) {words[event.kind]}{code}{detail}")
