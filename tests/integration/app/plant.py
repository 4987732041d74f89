"""A running product to break: a stack with agents and a customer, and what its database must say however it was broken."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
from gridbroker_sdk import ENDED, Client, SdkError

from gridbroker.app.child import plain_environment
from gridbroker.app.demo.cast import Cast, agent_environment, assemble
from gridbroker.app.embedded import process as processes
from gridbroker.core.settings import Settings
from gridbroker.node_agent.backends.process import Stat
from gridbroker.settlement.verify import verify

PATIENCE_S = 60.0
FUNDS = "100.00"
TRAINER = "gridbroker.examples.train_classifier"
STEP_S = 0.05
CHECKPOINT_EVERY = 20
FAST: dict[str, Any] = {"api_port": 0, "sweep_interval_s": 0.3}

_ONCE = """
select w.id, w.state, w.spent_micro,
  (select count(*) from statements s where s.workload_id = w.id) as statements,
  (select count(*) from receipts r where r.workload_id = w.id) as receipts,
  (select count(*) from charges c where c.workload_id = w.id and c.state = 'paid') as charges,
  (select count(*) from ledger_transfers t where t.reference = w.id and t.pending_id is not null) as resolutions,
  (select coalesce(sum(amount_micro), 0) from charges c where c.workload_id = w.id) as charged,
  (select coalesce(sum(amount_micro), 0) from payouts p where p.workload_id = w.id)
  + (select coalesce(sum(amount_micro), 0) from ledger_transfers t where t.reference = w.id and t.purpose = 'fee') as passed_on
from workloads w where w.id = any($1)
"""


@dataclass(slots=True)
class Node:
    """A node's machine: its agent can be killed and started again."""

    name: str
    environment: Mapping[str, str]
    log: Path
    state_dir: Path
    agent: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        self.agent.kill()
        self.agent.wait()

    def start(self) -> None:
        self.agent = processes.spawn([sys.executable, "-P", "-m", "gridbroker.node_agent"], log=self.log, env=self.environment)

    def program(self, placement_id: str) -> int:
        """The process group of a placement's program."""
        [identity] = self.state_dir.glob(f"placements/{placement_id}-*/run-*/identity")
        return Stat.parse(identity.read_text()).group


class Plant:
    """A customer with money and one node per zone on a stack that somebody else runs."""

    def __init__(self, url: str, admin_key: str, settings: Settings, zones: tuple[str, ...] = ("ES", "GB")) -> None:
        self.settings = settings
        self.cast: Cast = assemble(url, admin_key, settings, zones)
        self.customer = self.cast.customer
        self.nodes = {
            node.name: Node(
                name=node.name,
                environment=plain_environment() | agent_environment(url, settings, node.name, node.zone, ""),
                log=settings.data_dir / "logs" / f"agent-{node.zone.lower()}.log",
                state_dir=settings.data_dir / "agents" / node.name,
                agent=node.agent,
            )
            for node in self.cast.nodes
        }

    def close(self) -> None:
        for node in self.nodes.values():
            node.agent.terminate()
        for node in self.nodes.values():
            processes.stop(node.agent, [(signal.SIGTERM, 8.0)])
        self.customer.close()

    @property
    def key(self) -> str:
        """The customer's."""
        return self.customer._http.headers["Authorization"].removeprefix("Bearer ")

    def submit(self, steps: int, client: Client | None = None, **changes: Any) -> str:
        body = {
            "name": "spirals",
            "command": ["python", "-m", TRAINER, *_options(steps), "--step-s", str(STEP_S)],
            "gpu_model": "H100",
            "expected_hours": 0.01,
            "budget": {"amount": "2.00", "currency": "EUR"},
            "checkpoint": {"signal": True, "size_mib": 1, "grace_s": 5},
        }
        return (client or self.customer).submit(body | changes)["id"]

    def state(self, workload_id: str) -> str:
        return self.customer.workload(workload_id)["state"]

    def placements(self, workload_id: str) -> list[dict[str, Any]]:
        return self.customer.workload(workload_id)["placements"]

    def lines(self, workload_id: str) -> list[str]:
        return [line["text"] for page in self.customer.log_pages(workload_id) for line in page["data"]]

    def until(self, what: str, condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        """Poll; a server that is out of reach has simply not done it yet."""

        def holds() -> bool:
            try:
                return bool(condition())
            except SdkError:
                return False

        assert processes.wait_until(holds, patience_s), f"not within {patience_s:.0f} s: {what}\n{self._logs()}"

    def until_started(self, workload_id: str) -> None:
        self.until("the program runs", lambda: self.state(workload_id) == "running" and self.lines(workload_id))

    def until_ended(self, ids: Iterable[str]) -> None:
        for one in ids:
            self.until(f"{one} ends", lambda one=one: self.state(one) in ENDED)

    def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        async def run() -> list[dict[str, Any]]:
            connection = await asyncpg.connect(self.settings.system_database_url, timeout=10)
            try:
                return [dict(row) for row in await connection.fetch(query, *arguments)]
            finally:
                await connection.close()

        return asyncio.run(run())

    def check_once(self, ids: list[str]) -> None:
        """Each completed once: one statement, charge, receipt (which verifies) and end of its hold; nothing is held any more."""
        for row in self.rows(_ONCE, ids):
            counted = {name: row[name] for name in ("state", "statements", "receipts", "charges", "resolutions")}
            assert counted == {"state": "completed", "statements": 1, "receipts": 1, "charges": 1, "resolutions": 1}, row
            assert row["charged"] == row["passed_on"] == row["spent_micro"] > 0, row
        for one in ids:
            [receipt] = self.customer.get("/api/v1/receipts", {"workload_id": one})["data"]
            found = verify(self.customer.receipt(receipt["id"]))
            assert found.ok, [check for check in found.checks if not check.ok]
        wallet = self.customer.wallet()
        spent = sum(row["amount_micro"] for row in self.rows("select amount_micro from charges where workload_id is not null"))
        assert (wallet["held"], _micro(wallet["available"])) == ("0.00", _micro(FUNDS) - spent)

    def check_uninterrupted(self, workload_id: str, steps: int) -> None:
        """The program never noticed: its every line arrived, once and in order."""
        lines = self.lines(workload_id)
        assert lines == uninterrupted(steps), "\n".join(lines)
        view = self.customer.workload(workload_id)
        assert (view["progress"]["step"], view["restarts"], view["moves"], len(view["placements"])) == (steps, 0, 0, 1)

    def check_resumed(self, workload_id: str, steps: int) -> int:
        """It went on from a commit and came to the same end. Returns the step of the commit."""
        lines = self.lines(workload_id)
        [resumed_at] = [int(found[1]) for line in lines if (found := re.match(r"resuming from step (\d+) of", line))]
        assert resumed_at > 0 and resumed_at % CHECKPOINT_EVERY == 0
        assert lines[-1] == uninterrupted(steps)[-1], "the same weights, bit for bit"
        again = lines[max(n for n, line in enumerate(lines) if line.startswith("resuming")) + 1 :]
        assert again == [line for line in uninterrupted(steps) if _step(line) > resumed_at], "nothing left out after it"
        assert self.customer.workload(workload_id)["progress"]["step"] == steps
        return resumed_at

    def _logs(self) -> str:
        logs = sorted((self.settings.data_dir / "logs").glob("*.log"))
        return "\n".join(f"--- {log.name}\n{processes.tail(log, 1500)}" for log in logs)


@cache
def uninterrupted(steps: int) -> list[str]:
    """What the same training prints when nothing happens to it."""
    command = [sys.executable, "-P", "-m", TRAINER, *_options(steps)]
    ran = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, timeout=60, check=True)
    return [line for line in ran.stdout.splitlines() if not line.startswith("gridbroker:")]


def descendants(pid: int) -> list[int]:
    """All processes below this one, parents first."""
    parents = {int(entry.name): _parent(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def kill_tree(pid: int) -> None:
    """All at once: nobody below or above gets to notice that another one died."""
    everyone = [*descendants(pid), pid]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for one in everyone:
            try:
                os.kill(one, number)
            except ProcessLookupError:
                continue


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _options(steps: int) -> list[str]:
    return ["--steps", str(steps), "--checkpoint-every", str(CHECKPOINT_EVERY)]


def _step(line: str) -> int:
    found = re.match(r"(?:step|done after step) (\d+)", line)
    return int(found[1]) if found else -1


def _micro(euros: str) -> int:
    return round(float(euros) * 1_000_000)
