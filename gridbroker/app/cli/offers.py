"""`gridbroker offers` and `gridbroker zones`: what the market and the grid look like now."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gridbroker.app.cli import output, plan_view, session, words
from gridbroker.app.cli.config import DEFAULT_PROFILE
from gridbroker.app.cli.options import AsJson, ProfileName, Url


def offers(
    gpu: Annotated[str | None, typer.Option("--gpu", "--gpu-model", help="Only this model.", show_default=False)] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=1, max=16, help="GPUs on one node.")] = 1,
    vram_mib: Annotated[int, typer.Option("--vram-mib", min=0, help="Memory needed per GPU.")] = 0,
    zone: Annotated[str | None, typer.Option("--zone", help="Only in this grid zone.", show_default=False)] = None,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """List where an hour could run now, best first: the router's own ranking."""
    with session.connect(profile, url) as client:
        answer = client.offers(gpu_model=gpu, gpus=gpus, vram_mib=vram_mib, zone=zone)
    if as_json:
        output.put_json(answer)
        return
    if answer["data"]:
        columns = ["node", "zone", "gpu", "free", "eur/gpu-hour", "g/kwh", "grid", "renewable", "energy", "score"]
        output.table(columns, map(_offer, answer["data"]), clock_factor=answer["clock_factor"])
    else:
        output.say("Nothing can be offered now. Ask for less, or see `gridbroker zones`.")
    if answer["rejected_counts"]:
        output.say(f"Rejected by reason: {words.counted(answer['rejected_counts'])}")


def zones(as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """List grid zones with what is known of them now."""
    with session.connect(profile, url) as client:
        found = client.zones()
    if as_json:
        output.put_json({"data": found})
        return
    columns = ["zone", "name", "gco2e/kwh", "grid", "eur/mwh", "renewable", "surplus", "hour"]
    output.table(columns, map(_zone, found), clock_factor=client.clock_factor)


def _offer(one: Mapping[str, Any]) -> list[object]:
    return [
        one["node_name"],
        one["zone"],
        one["gpu_model"],
        one["free_gpus"],
        one["price_eur_per_gpu_hour"],
        f"{one['intensity_g_per_kwh']:.0f}",
        f"{one['grid_quality']} ({one['grid_source']})",
        words.percent(one["renewable_share"]),
        one["energy_kind"],
        plan_view.score(one["score"]),
    ]


def _zone(zone: Mapping[str, Any]) -> list[object]:
    intensity, price, renewable = zone["carbon_intensity"], zone["price"], zone["renewable_share"]
    return [
        zone["key"],
        zone["name"],
        intensity and f"{intensity['value']:.0f}",
        intensity and f"{intensity['quality']} ({intensity['source']})",
        price and f"{price['value']:.2f}",
        renewable and words.percent(renewable["value"]),
        ", ".join(zone["surplus"]),
        intensity and words.at(intensity["at"]),
    ]
