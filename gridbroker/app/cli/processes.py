"""`gridbroker api | worker | scheduler | agent`: one process each, for hosts of their own. They log to stderr."""

import logging
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from gridbroker.app.cli.exits import Exit
from gridbroker.app.cli.options import AsJson
from gridbroker.core.errors import Conflict, GridbrokerError, Invalid, Unauthenticated

AGENT_STACK_BYTES = 512 * 1024
"""Many short-lived threads would each reserve the default 8 MiB."""


class AgentMisconfigured(Invalid):
    code, title = "agent_misconfigured", "The agent's configuration is wrong"


class AgentRefused(Unauthenticated):
    code, title = "agent_refused", "The server refused to register this node"


class AgentLocked(Conflict):
    code, title = "agent_locked", "Another agent runs on this state folder"


class AgentCrashed(GridbrokerError):
    code, title = "agent_crashed", "The agent failed; its programs run on and the next start adopts them"


def api(as_json: AsJson = False) -> None:
    """Serve the API; GRIDBROKER_* variables say on what and where."""
    from gridbroker.app.cli import serve  # noqa: PLC0415 - each process loads its own part only

    _ = as_json
    serve.api()


def worker(as_json: AsJson = False) -> None:
    """Advance rows as hints come in."""
    from gridbroker.app.cli import serve  # noqa: PLC0415

    _ = as_json
    serve.worker()


def scheduler(as_json: AsJson = False) -> None:
    """Sweep for due rows; of several, one leads."""
    from gridbroker.app.cli import serve  # noqa: PLC0415

    _ = as_json
    serve.scheduler()


def agent(
    server: Annotated[str | None, typer.Option("--server", help="Address of the broker.", show_default=False)] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", help="One-time token, for the first start; better in GRIDBROKER_REGISTRATION_TOKEN.", show_default=False
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of this node.", show_default=False)] = None,
    zone: Annotated[str | None, typer.Option("--zone", help="Grid zone that it draws from.", show_default=False)] = None,
    gpu_model: Annotated[str | None, typer.Option("--gpu-model", show_default=False)] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, show_default=False)] = None,
    price: Annotated[str | None, typer.Option("--price", help="EUR per GPU-hour.", show_default=False)] = None,
    pue: Annotated[float | None, typer.Option("--pue", help="Of the site.", show_default=False)] = None,
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="Credentials, spool, working folders.", show_default=False)
    ] = None,
    energy: Annotated[str | None, typer.Option("--energy", help="auto, nvml or modelled.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Run workloads on this machine for a broker. Calls out only; flags win over GRIDBROKER_* variables."""
    from gridbroker.node_agent import agent as node  # noqa: PLC0415 - only this command runs one
    from gridbroker.node_agent import config  # noqa: PLC0415

    _ = as_json
    try:
        settings = config.load(
            server_url=server,
            registration_token=token,
            node_name=name,
            zone=zone,
            gpu_model=gpu_model,
            gpu_count=gpus,
            price_eur_per_gpu_hour=price,
            pue=pue,
            state_dir=state_dir,
            energy_source=energy,
        )
    except config.BadConfig as error:
        raise AgentMisconfigured(f"{error}.") from None
    threading.stack_size(AGENT_STACK_BYTES)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    code = node.run(settings)
    if code != config.EXIT_OK:
        failures = {config.EXIT_CONFIG: AgentMisconfigured, config.EXIT_REFUSED: AgentRefused, config.EXIT_LOCKED: AgentLocked}
        raise failures.get(code, AgentCrashed)("The log above says more.")
    raise typer.Exit(Exit.OK)
