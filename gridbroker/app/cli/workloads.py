"""`gridbroker workloads`: list, show, logs, events, decisions, statement, route, cancel, complete."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from gridbroker.app.cli import follow, output, plan_view, session, statement_view, words
from gridbroker.app.cli.config import DEFAULT_PROFILE
from gridbroker.app.cli.options import AsJson, Id, Limit, ProfileName, Url

app = typer.Typer(help="Your workloads.", no_args_is_help=True, rich_markup_mode=None)


class State(StrEnum):
    SUBMITTED = "submitted"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    MIGRATING = "migrating"
    STOPPING = "stopping"
    SETTLING = "settling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@app.command("list")
def list_(
    state: Annotated[State | None, typer.Option("--state", help="Only in this state.", show_default=False)] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """List workloads, newest first."""
    with session.connect(profile, url) as client:
        found = client.listing("/api/v1/workloads", {"state": state}, limit=limit)
    columns = ["id", "name", "state", "step", "cost", "energy", "moves", "submitted"]
    output.listing(found, columns, _row, as_json=as_json, hint="No workloads. Submit one: gridbroker run --help")


@app.command()
def show(workload_id: Id, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """Show state, progress, placements, and cost and energy to date."""
    with session.connect(profile, url) as client:
        view = client.workload(workload_id)
        if as_json:
            output.put_json(view)
            return
        _show(view)
        if view["state"] in client.ENDED:
            output.put()
            statement_view.show_totals(client.statement(workload_id))


@app.command()
def logs(
    workload_id: Id,
    keep_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the workload has ended.")] = False,
    after: Annotated[str, typer.Option("--after", help="Only lines after this position (placement.seq).")] = "0.0",
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """Print log lines of all placements in order; with --follow --json one JSON object a line."""
    with session.connect(profile, url) as client:
        pages = client.log_pages(workload_id, after=after, follow=keep_on)
        if as_json and not keep_on:
            every = list(pages)
            output.put_json({**every[-1], "data": [line for page in every for line in page["data"]]})
            return
        lines = (line for page in pages for line in page["data"])
        for line in lines:
            output.put_json(line) if as_json else output.put(line["text"].rstrip("\r\n"))


@app.command()
def events(
    workload_id: Id, limit: Limit = 50, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE
) -> None:
    """List what happened to a workload, newest first."""
    with session.connect(profile, url) as client:
        found = client.listing(f"/api/v1/workloads/{workload_id}/events", limit=limit)
    output.listing(found, ["at", "event", "detail"], _event, as_json=as_json, hint="Nothing has happened to it yet.")


@app.command()
def decisions(
    workload_id: Id, limit: Limit = 1, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE
) -> None:
    """Show routing decisions, newest first: candidates with the parts of their score, and who was rejected why."""
    with session.connect(profile, url) as client:
        found = client.listing(f"/api/v1/workloads/{workload_id}/decisions", limit=limit)
    if as_json:
        output.put_listing(found)
        return
    for decision in found.data:
        _decision(decision, client.clock_factor)
    if not found.data:
        output.say("No decision was made yet.")


@app.command()
def statement(workload_id: Id, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """Show what an ended workload used, emitted and cost, beside its named baselines."""
    with session.connect(profile, url) as client:
        found = client.statement(workload_id)
    if as_json:
        output.put_json(found)
    else:
        statement_view.show(found)


@app.command()
def route(workload_id: Id, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """Look for a place now rather than at the next retry."""
    with session.connect(profile, url) as client:
        _told(client.route(workload_id), as_json)


@app.command()
def cancel(workload_id: Id, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """Stop a workload and settle what it used."""
    with session.connect(profile, url) as client:
        _told(client.cancel(workload_id), as_json)


@app.command()
def complete(workload_id: Id, as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """Call a workload good enough: stop it, settle it, and count it as completed."""
    with session.connect(profile, url) as client:
        _told(client.complete(workload_id), as_json)


def _row(view: Mapping[str, Any]) -> list[object]:
    progress = view["progress"]
    return [
        view["id"],
        view["name"],
        view["state"],
        progress and f"{progress['step']}/{progress['total_steps'] or '?'}",
        f"{view['cost_eur']} {view['currency']}",
        words.kwh(view["energy_mj"]),
        view["moves"],
        words.at(view["submitted_at"]),
    ]


def _show(view: Mapping[str, Any]) -> None:
    output.fields(
        {
            "Workload": f"{view['name']} ({view['id']})",
            "State": follow.describe({**view, "clock_factor": 1}),
            "Hold": f"{view['hold_eur']} {view['currency']}",
            "Moves": view["moves"],
            "Restarts": view["restarts"],
            "Submitted": words.at(view["submitted_at"]),
            "Started": words.at(view["started_at"]),
            "Ended": words.at(view["ended_at"]),
        },
        clock_factor=view["clock_factor"],
    )
    if view["placements"]:
        output.put()
        output.table(
            ["placement", "node", "zone", "gpu", "state", "from", "to", "ended because", "exit"],
            [_placement(one) for one in view["placements"]],
        )


def _placement(one: Mapping[str, Any]) -> list[object]:
    return [
        one["number"],
        one["node_name"],
        one["zone"],
        f"{len(one['gpu_indices'])} x {one['gpu_model']}",
        one["state"],
        words.at(one["started_at"] or one["leased_at"]),
        words.at(one["ended_at"]),
        one["end_reason"],
        one["exit_code"],
    ]


def _event(event: Mapping[str, Any]) -> list[object]:
    return [words.at(event["at"]), event["kind"], ", ".join(f"{name} {value}" for name, value in event["detail"].items())]


def _decision(decision: Mapping[str, Any], clock_factor: int) -> None:
    route_ = decision["body"]["route"]
    output.fields(
        {
            "Decision": f"{decision['kind']}: {decision['outcome']}",
            "At": words.at(decision["decided_at"]),
            "Policy": decision["policy_version"],
            "Binding constraint": plan_view.binding(route_["binding"]) if route_["binding"] else None,
            "Rejected by reason": words.counted(route_["rejected_counts"]) or None,
        },
        clock_factor=clock_factor,
    )
    for line in decision["body"].get("sum", []):
        output.put(f"  {line}")
    if route_["candidates"]:
        output.put()
        plan_view.show_candidates(route_["candidates"])
    if route_["rejected"]:
        output.put()
        plan_view.show_rejected(route_["rejected"])


def _told(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.put_json(view)
    else:
        output.say(follow.describe(view))
