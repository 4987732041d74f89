"""Follow a workload: a live bar on a terminal, one line for each change of state elsewhere; always on stderr."""

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from gridbroker.app.cli import output, words

if TYPE_CHECKING:
    from gridbroker_sdk import Client

SETTLED = ("running", "completed", "failed", "cancelled")


def follow(client: "Client", workload_id: str, *, until_running: bool, quiet: bool = False) -> dict[str, Any]:
    """The last view: of the ended workload, or with `until_running` of one that runs or has ended."""
    try:
        views = client.watch(workload_id)
        if quiet:
            return _last(views, until_running)
        if output.is_terminal(sys.stderr):
            return _with_bar(views, until_running)
        return _with_lines(views, until_running)
    except KeyboardInterrupt:
        output.say(f"Not following any more; it goes on. See: gridbroker workloads show {workload_id}")
        raise


def describe(view: Mapping[str, Any]) -> str:
    """State, place, step, cost and energy to date on one line."""
    parts = [view["state"]]
    if view["state_reason"]:
        parts.append(f"({view['state_reason']})")
    placements = view["placements"]
    if placements:
        parts.append(f"on {placements[-1]['node_name']} in {placements[-1]['zone']}")
    progress = view["progress"]
    if progress:
        parts.append(f"step {progress['step']}" + (f"/{progress['total_steps']}" if progress["total_steps"] else ""))
    parts.append(f"{view['cost_eur']} {view['currency']}, {words.kwh(view['energy_mj'])}")
    if view["clock_factor"] > 1:
        parts.append(f"[{output.simulated(view['clock_factor'])}]")
    return " ".join(parts)


class _Show(Protocol):
    def __call__(self, view: Mapping[str, Any]) -> None: ...


def _last(views: Iterator[dict[str, Any]], until_running: bool, show: _Show | None = None) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for last in views:
        if show is not None:
            show(last)
        if until_running and last["state"] in SETTLED:
            break
    return last


def _with_lines(views: Iterator[dict[str, Any]], until_running: bool) -> dict[str, Any]:
    seen: list[object] = []

    def show(view: Mapping[str, Any]) -> None:
        key = (view["state"], view["state_reason"], len(view["placements"]))
        if seen[-1:] != [key]:
            seen.append(key)
            output.say(describe(view))

    return _last(views, until_running, show)


def _with_bar(views: Iterator[dict[str, Any]], until_running: bool) -> dict[str, Any]:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(view: Mapping[str, Any]) -> None:
            share = (view["progress"] or {}).get("share")
            bar.update(task, description=output.clean(describe(view)), total=None if share is None else 1.0, completed=share or 0.0)

        last = _last(views, until_running, show)
    output.say(describe(last))
    return last
