"""Following the workload to its end: its events and log lines as they come, each once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gridbroker_sdk import ENDED, Client

from gridbroker.app.cli.words import at, eur, kwh
from gridbroker.app.demo.cast import DemoFailed
from gridbroker.app.demo.telling import SIMULATED, Teller
from gridbroker.app.embedded import process as processes

POLL_S = 0.4
RUN_TIMEOUT_S = 150.0


@dataclass(slots=True)
class Story:
    """What was seen of one run."""

    view: dict[str, Any]
    lines: list[str] = field(default_factory=list[str])
    told: set[str] = field(default_factory=set[str])
    position: str = "0.0"


def follow(customer: Client, workload_id: str, teller: Teller) -> Story:
    """Tell events and log lines until the workload has ended. Raises DemoFailed when it does not end in time."""
    story = Story(customer.workload(workload_id))
    teller.head(f"3. The run ({SIMULATED}; energy modelled; log lines are the program's own)")
    with teller.bar() as bar:
        task = bar.add_task("training", total=1.0)

        def poll() -> bool:
            story.view = customer.workload(workload_id)
            _tell_events(customer, workload_id, story, teller)
            _tell_logs(customer, workload_id, story, teller)
            share = (story.view.get("progress") or {}).get("share") or 0.0
            figures = f"{eur(round(float(story.view['cost_eur']) * 1_000_000))}, {kwh(story.view['energy_mj'])} so far"
            bar.update(task, completed=share, description=f"{story.view['state']:9} {figures}")
            if story.view["state"] not in ENDED:
                customer.sleep(POLL_S)
            return story.view["state"] in ENDED

        if not processes.wait_until(poll, RUN_TIMEOUT_S):
            raise DemoFailed(f"The workload was still {story.view['state']} after {RUN_TIMEOUT_S:.0f} s.")
    _tell_events(customer, workload_id, story, teller)
    _tell_logs(customer, workload_id, story, teller)
    return story


def _tell_events(customer: Client, workload_id: str, story: Story, teller: Teller) -> None:
    for event in reversed(customer.get(f"/api/v1/workloads/{workload_id}/events")["data"]):
        if event["id"] in story.told:
            continue
        story.told.add(event["id"])
        teller.line(f"{at(event['at'])}  {event['kind']:15} {_words(event['kind'], event['detail'])}")
        if event["kind"] == "moving":
            _tell_move(customer, workload_id, event["detail"]["decision_id"], teller)


def _tell_move(customer: Client, workload_id: str, decision_id: str, teller: Teller) -> None:
    decisions = customer.get(f"/api/v1/workloads/{workload_id}/decisions")["data"]
    teller.move(next(decision for decision in decisions if decision["id"] == decision_id))


def _tell_logs(customer: Client, workload_id: str, story: Story, teller: Teller) -> None:
    for page in customer.log_pages(workload_id, after=story.position):
        story.position = page["next"]
        for line in page["data"]:
            story.lines.append(line["text"])
            teller.line(f"{at(line['at'])}  log             {line['text']}")


def _words(kind: str, detail: Mapping[str, Any]) -> str:
    match kind:
        case "placed" | "running":
            return f"on {detail['node']} in {detail['zone']}, placement {detail['number']}"
        case "moving":
            return f"{detail['source']} -> {detail['target']} ({detail['zone']}): the target is leased, the source checkpoints"
        case "moved":
            return f"checkpoint of step {detail['step']} handed from {detail['source']} to {detail['target']}"
        case "placement_ended":
            return f"on {detail['node']}: {detail['reason']}, exit code {detail['exit_code']}"
        case "settled":
            return f"{detail['outcome']}: {eur(int(detail['cost_micro']))}, {kwh(detail['energy_mj'])}"
        case "submitted":
            return f"hold of {eur(int(detail['hold_micro']))} placed on the wallet"
        case _:
            return ", ".join(f"{name} {value}" for name, value in detail.items())
