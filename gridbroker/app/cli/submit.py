"""`gridbroker plan` and `gridbroker run`: the same description, tried dry or for real."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gridbroker.app.cli import follow, output, plan_view, session
from gridbroker.app.cli.config import DEFAULT_PROFILE
from gridbroker.app.cli.description import describe
from gridbroker.app.cli.exits import Exit
from gridbroker.app.cli.options import AsJson, ProfileName, Url

File = Annotated[
    Path | None, typer.Option("--file", "-f", help="Description as .json or .toml; flags win over it.", show_default=False)
]
Command = Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="The program and its arguments.", show_default=False)]
Name = Annotated[str | None, typer.Option("--name", show_default=False)]
Budget = Annotated[str | None, typer.Option("--budget", help="Most that it may cost, for example 12.50.", show_default=False)]
CurrencyCode = Annotated[str, typer.Option("--currency", help="Of the budget.")]
Hours = Annotated[float | None, typer.Option("--hours", help="Expected run time; server's default 1.", show_default=False)]
Gpu = Annotated[str | None, typer.Option("--gpu", "--gpu-model", help="GPU model; default: any that fits.", show_default=False)]
Gpus = Annotated[int | None, typer.Option("--gpus", help="GPUs on one node; server's default 1.", show_default=False)]
Vram = Annotated[int | None, typer.Option("--vram-mib", help="Memory needed per GPU.", show_default=False)]
Image = Annotated[str | None, typer.Option("--image", help="Container image instead of a command.", show_default=False)]
Zones = Annotated[list[str] | None, typer.Option("--zone", help="Allowed grid zone; repeat for more.", show_default=False)]
HomeZone = Annotated[
    str | None, typer.Option("--home-zone", help="Where it would run without a broker: the baseline.", show_default=False)
]
Deadline = Annotated[str | None, typer.Option("--deadline", help="End by, for example 2027-03-01T18:00:00Z.", show_default=False)]
GreenOnly = Annotated[bool, typer.Option("--green-only", help="Only where the whole run is expected to be green.")]
MaxIntensity = Annotated[
    float | None, typer.Option("--max-intensity", help="Cap on the planned mean, gCO2e/kWh.", show_default=False)
]
Env = Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE; repeat for more.", show_default=False)]
Checkpoint = Annotated[bool, typer.Option("--checkpoint", help="It honours the checkpoint contract and may be moved.")]
CheckpointSignal = Annotated[bool, typer.Option("--checkpoint-signal", help="It checkpoints on SIGUSR1.")]
CheckpointInterval = Annotated[
    int | None, typer.Option("--checkpoint-interval-s", help="It checkpoints by itself this often.", show_default=False)
]
CheckpointSize = Annotated[int | None, typer.Option("--checkpoint-mib", help="Expected size of one.", show_default=False)]
Grace = Annotated[int | None, typer.Option("--grace-s", help="Time it needs between SIGTERM and SIGKILL.", show_default=False)]
Load = Annotated[float | None, typer.Option("--load", help="Expected share of the GPU's power range, 0 to 1.", show_default=False)]
Restarts = Annotated[int | None, typer.Option("--max-restarts", help="After failures and lost nodes.", show_default=False)]
Memory = Annotated[int | None, typer.Option("--memory-mib", help="Limit of main memory.", show_default=False)]


class Wait(StrEnum):
    RUNNING = "running"
    ENDED = "ended"


def plan(
    command: Command = None,
    file: File = None,
    name: Name = None,
    budget: Budget = None,
    currency: CurrencyCode = "EUR",
    hours: Hours = None,
    gpu: Gpu = None,
    gpus: Gpus = None,
    vram_mib: Vram = None,
    image: Image = None,
    zone: Zones = None,
    home_zone: HomeZone = None,
    deadline: Deadline = None,
    green_only: GreenOnly = False,
    max_intensity: MaxIntensity = None,
    env: Env = None,
    checkpoint: Checkpoint = False,
    checkpoint_signal: CheckpointSignal = False,
    checkpoint_interval_s: CheckpointInterval = None,
    checkpoint_mib: CheckpointSize = None,
    grace_s: Grace = None,
    load: Load = None,
    max_restarts: Restarts = None,
    memory_mib: Memory = None,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """Show where a workload would run and what it would take; nothing is written. Exits with 1 when there is no place.

    Example: gridbroker plan --name x --budget 12.50 --hours 2 --gpu H100 -- python train.py
    """
    body = describe(file, flags(locals()))
    with session.connect(profile, url) as client:
        answer = client.plan(body)
    if as_json:
        output.put_json(answer)
    else:
        plan_view.show(answer)
    if not answer["feasible"]:
        raise typer.Exit(Exit.FAILURE)


def run(
    command: Command = None,
    file: File = None,
    name: Name = None,
    budget: Budget = None,
    currency: CurrencyCode = "EUR",
    hours: Hours = None,
    gpu: Gpu = None,
    gpus: Gpus = None,
    vram_mib: Vram = None,
    image: Image = None,
    zone: Zones = None,
    home_zone: HomeZone = None,
    deadline: Deadline = None,
    green_only: GreenOnly = False,
    max_intensity: MaxIntensity = None,
    env: Env = None,
    checkpoint: Checkpoint = False,
    checkpoint_signal: CheckpointSignal = False,
    checkpoint_interval_s: CheckpointInterval = None,
    checkpoint_mib: CheckpointSize = None,
    grace_s: Grace = None,
    load: Load = None,
    max_restarts: Restarts = None,
    memory_mib: Memory = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it is submitted.")] = False,
    until: Annotated[Wait, typer.Option("--until", help="How long to follow it.")] = Wait.ENDED,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Submits once however often it is used.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """Submit a workload: quote and hold at once, then follow it. Ctrl-C stops following, not the workload.

    Example: gridbroker run --name x --budget 12.50 --hours 2 --gpu H100 -- python train.py
    """
    body = describe(file, flags(locals()))
    with session.connect(profile, url) as client:
        submitted = client.submit(body, idempotency_key=idempotency_key)
        if not as_json:
            plan_view.show_quote(submitted)
        view = submitted if detach else follow.follow(client, submitted["id"], until_running=until is Wait.RUNNING, quiet=as_json)
    if as_json:
        output.put_json(view)
    elif detach:
        output.say(f"Next: gridbroker workloads show {submitted['id']}")
    if view["state"] in ("failed", "cancelled"):
        raise typer.Exit(Exit.FAILURE)


_FIELD_OF_FLAG = {
    "command": "command",
    "name": "name",
    "budget": "budget",
    "currency": "currency",
    "hours": "expected_hours",
    "gpu": "gpu_model",
    "gpus": "gpus",
    "vram_mib": "vram_mib",
    "image": "image",
    "zone": "zones",
    "home_zone": "home_zone",
    "deadline": "deadline_at",
    "green_only": "green_only",
    "max_intensity": "max_intensity_g_per_kwh",
    "env": "environment",
    "checkpoint": "checkpoint",
    "checkpoint_signal": "signal",
    "checkpoint_interval_s": "interval_s",
    "checkpoint_mib": "size_mib",
    "grace_s": "grace_s",
    "load": "load",
    "max_restarts": "max_restarts",
    "memory_mib": "memory_limit_mib",
}


def flags(given: dict[str, Any]) -> dict[str, Any]:
    """A command's parameters by the API's names; what is no part of the description is left out."""
    return {field: given[flag] for flag, field in _FIELD_OF_FLAG.items()}
