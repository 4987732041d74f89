"""`gridbroker demo`, `seed`, `doctor` and `version`."""

import platform
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import gridbroker
from gridbroker.app.cli import config, output
from gridbroker.app.cli.exits import Exit
from gridbroker.app.cli.options import AsJson, ProfileName, Url

GridTrace = Annotated[
    Path | None, typer.Option("--grid-trace", help="Hourly trace to replay; default: a modelled typical day.", show_default=False)
]


def demo(
    grid_trace: GridTrace = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end, until Ctrl-C.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder for it; default: a fresh temporary one.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a real training run from submit to verified receipt, on a stack and nodes of its own."""
    from gridbroker.app import demo as story  # noqa: PLC0415 - only this command needs it

    raise typer.Exit(story.run(grid_trace=grid_trace, keep=keep, data_dir=data_dir, as_json=as_json))


def seed(url: Url = None, profile: ProfileName = config.DEFAULT_PROFILE, as_json: AsJson = False) -> None:
    """Load a demonstration fleet: 13 organisations and 20 nodes over the 11 zones. Needs an admin key."""
    from gridbroker.app import seed as fleet  # noqa: PLC0415 - only this command needs it

    found = config.resolve(profile, url)
    raise typer.Exit(fleet.run(url=found.url, key=config.require_key(found), as_json=as_json))


def doctor(as_json: AsJson = False) -> None:
    """Look at what the product needs on this machine, and say what to do where something is missing."""
    from gridbroker.app import doctor as look  # noqa: PLC0415 - heavy
    from gridbroker.core.clock import SystemClock  # noqa: PLC0415
    from gridbroker.core.settings import load  # noqa: PLC0415

    checks = look.examine(load(), now=SystemClock().wall())
    healthy = look.is_healthy(checks)
    if as_json:
        output.put_json({"ok": healthy, "checks": [asdict(check) for check in checks]})
    else:
        output.table(["check", "result", "detail"], [[one.name, _result(one.ok, one.required), one.detail] for one in checks])
        for one in checks:
            if one.hint:
                output.say(f"{one.name}: {one.hint}")
    if not healthy:
        raise typer.Exit(Exit.FAILURE)


def _result(ok: bool, required: bool) -> str:
    return "ok" if ok else "FAILED" if required else "not there"


def version(as_json: AsJson = False) -> None:
    """Show the version."""
    if as_json:
        output.put_json({"version": gridbroker.__version__, "python": platform.python_version()})
    else:
        output.put(gridbroker.__version__)
