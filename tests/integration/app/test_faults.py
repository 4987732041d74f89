"""The running product, its processes killed under real work: all of it finishes, once, with the result that it would have had.

A killed process's claims run out after ten seconds, so any of these may take that much longer than usual.
"""

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from gridbroker_sdk import Client

from gridbroker.app.admin import ensure_admin_now
from gridbroker.app.embedded import process as processes
from gridbroker.app.embedded.ports import free_port
from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.app.embedded.valkey import EmbeddedValkey
from gridbroker.app.scheduler import LEADER_LOCK
from gridbroker.app.stack import COMMANDS, Stack
from gridbroker.app.supervisor import StackEvent
from gridbroker.core.settings import Settings
from tests.integration.app.plant import FAST, PATIENCE_S, Plant, descendants, kill_tree

pytestmark = pytest.mark.slow


def _plant(stack: Stack) -> Plant:
    key = ensure_admin_now(stack.settings)
    assert key is not None
    return Plant(stack.url, key, stack.settings)


# --- one process after the other -----------------------------------------------------------------------------------------


class Events:
    """What the supervisor reports."""

    def __init__(self) -> None:
        self._events: queue.Queue[StackEvent] = queue.Queue()
        self.hear: Callable[[StackEvent], None] = self._events.put

    def until_restarted(self, name: str) -> None:
        while (event := self._events.get(timeout=PATIENCE_S)).kind != "restarted" or event.name != name:
            assert event.name == name, f"{event} while {name} was to come back"


@pytest.fixture(scope="module")
def events() -> Events:
    return Events()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, events: Events) -> Iterator[Stack]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("stack"), **FAST)
    with Stack.start(settings, on_event=events.hear) as started:
        yield started


@pytest.fixture(scope="module")
def plant(stack: Stack) -> Iterator[Plant]:
    plant = _plant(stack)
    yield plant
    plant.close()


def test_every_process_is_killed_once_while_work_runs(stack: Stack, plant: Plant, events: Events) -> None:
    steps = 100
    ids = [plant.submit(steps) for _ in range(4)]
    plant.until_started(ids[0])
    for name in ("worker", "scheduler", "api", "valkey", "postgres"):
        os.kill(stack.processes[name], signal.SIGKILL)
        events.until_restarted(name)
        plant.until("the API serves", plant.customer.wallet)
    _kill_what_serves(stack)
    plant.until("the API serves", plant.customer.wallet)
    plant.until_ended(ids)
    plant.check_once(ids)
    for one in ids:
        plant.check_uninterrupted(one, steps)


def _kill_what_serves(stack: Stack) -> None:
    """The API's own child; its parent brings it back, not the supervisor."""
    children = descendants(stack.processes["api"])
    assert children, "the server keeps a process below itself"
    os.kill(children[0], signal.SIGKILL)


def test_a_killed_agent_adopts_what_it_had_started(plant: Plant) -> None:
    steps = 80
    workload_id = plant.submit(steps)
    plant.until_started(workload_id)
    [placement] = plant.placements(workload_id)
    node = plant.nodes[placement["node_name"]]
    program = node.program(placement["id"])
    node.kill()
    assert processes.command_line(program), "the program runs on without its agent"
    node.start()
    plant.until_ended([workload_id])
    plant.check_once([workload_id])
    plant.check_uninterrupted(workload_id, steps)


def test_a_program_that_died_with_its_agent_is_resumed(plant: Plant) -> None:
    steps = 80
    workload_id = plant.submit(steps)
    plant.until("a checkpoint is safe", lambda: _checkpoints(plant, workload_id))
    [placement] = plant.placements(workload_id)
    node = plant.nodes[placement["node_name"]]
    program = node.program(placement["id"])
    node.kill()
    os.killpg(program, signal.SIGKILL)
    node.start()
    plant.until_ended([workload_id])
    plant.check_once([workload_id])
    plant.check_resumed(workload_id, steps)
    assert plant.customer.workload(workload_id)["restarts"] == 1


def _checkpoints(plant: Plant, workload_id: str) -> int:
    return plant.rows("select count(*) as n from checkpoints where workload_id = $1", workload_id)[0]["n"]


# --- no Redis, and a node that is gone -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deaf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Nobody listens where Redis should be, so no hint ever arrives; silent nodes are given up soon."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("deaf"), redis_url=f"redis://127.0.0.1:{free_port()}/0", node_lost_after_s=2.0, **FAST
    )
    with Stack.start(settings) as stack:
        plant = _plant(stack)
        yield plant
        plant.close()


def test_sweeps_alone_finish_the_work(deaf: Plant) -> None:
    steps = 20
    ids = [deaf.submit(steps) for _ in range(4)]
    deaf.until_ended(ids)
    deaf.check_once(ids)
    for one in ids:
        deaf.check_uninterrupted(one, steps)


def test_a_node_that_stays_away_is_replaced_and_fenced(deaf: Plant) -> None:
    steps = 200
    workload_id = deaf.submit(steps)
    deaf.until("a checkpoint is safe", lambda: _checkpoints(deaf, workload_id))
    [lost] = deaf.placements(workload_id)
    node = deaf.nodes[lost["node_name"]]
    program = node.program(lost["id"])
    node.kill()
    deaf.until("it runs on the other node", lambda: len(deaf.placements(workload_id)) == 2 and deaf.state(workload_id) == "running")
    assert processes.command_line(program), "the lost node's program knows nothing of it"
    told = deaf.rows(_TOLD, lost["id"])
    node.start()
    deaf.until("the program is fenced", lambda: not processes.command_line(program), 10)
    deaf.until_ended([workload_id])
    deaf.check_once([workload_id])
    deaf.check_resumed(workload_id, steps)
    first, second = deaf.placements(workload_id)
    assert (first["end_reason"], second["end_reason"]) == ("lost", "done")
    assert first["node_name"] != second["node_name"]
    assert deaf.rows(_TOLD, lost["id"]) == told, "nothing that it said afterwards was taken"
    deaf.until("its spool is empty again", lambda: _backlog(deaf, node.name) == 0)


_TOLD = """
select p.reported, p.reported_seq, p.exit_code, p.ended_at,
  (select count(*) from workload_logs l where l.placement_id = p.id) as lines,
  (select count(*) from checkpoints c where c.placement_id = p.id) as commits
from placements p where p.id = $1
"""


def _backlog(plant: Plant, node_name: str) -> int:
    return plant.rows("select spool_backlog as n from nodes where name = $1", node_name)[0]["n"]


# --- everything at once --------------------------------------------------------------------------------------------------

SUPERVISE = """
import json, sys
from pathlib import Path
from gridbroker.app.admin import ensure_admin_now
from gridbroker.app.stack import Stack
from gridbroker.core.settings import Settings
options = json.loads(sys.argv[2])
stack = Stack.start(Settings(data_dir=Path(sys.argv[1]), **options))
urls = [stack.settings.database_url, stack.settings.system_database_url]
print(json.dumps({"url": stack.url, "key": ensure_admin_now(stack.settings), "urls": urls}), flush=True)
stack.wait()
stack.stop()
"""


class Machine:
    """A stack with a supervisor of its own that can be killed with all that it runs."""

    def __init__(self, folder: Path, **options: object) -> None:
        command = [sys.executable, "-c", SUPERVISE, str(folder), json.dumps(options)]
        self.supervisor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.supervisor.stdout is not None
        said = json.loads(self.supervisor.stdout.readline())
        self.url, self.key = said["url"], said["key"]
        self.database_url, self.system_database_url = said["urls"]

    def kill(self) -> None:
        kill_tree(self.supervisor.pid)
        self.supervisor.communicate()

    def stop(self) -> None:
        self.supervisor.terminate()
        self.supervisor.communicate(timeout=PATIENCE_S)


def test_all_is_killed_at_once_and_started_again(tmp_path: Path) -> None:
    """Programs run on meanwhile and end while there is no broker; nobody who was silent for want of one counts as lost."""
    steps = (120, 120, 20, 20)
    options = FAST | {"api_port": free_port(), "node_lost_after_s": 4.0}
    first = Machine(tmp_path, **options)
    with ExitStack() as cleanup:
        plant = Plant(first.url, first.key, Settings(data_dir=tmp_path, system_database_url=first.system_database_url))
        cleanup.callback(plant.close)
        ids = [plant.submit(each) for each in steps[:2]]
        for one in ids:
            plant.until_started(one)
        ids += [plant.submit(each) for each in steps[2:]]
        assert plant.customer.wallet()["held"] == "8.00"
        placed = [placement for one in ids[:2] for placement in plant.placements(one)]
        first.kill()
        exits = [plant.nodes[one["node_name"]].state_dir / f"placements/{one['id']}-1/run-1/exit" for one in placed]
        assert processes.wait_until(lambda: all(path.exists() for path in exits), PATIENCE_S), "both end without a broker"
        again = Machine(tmp_path, **options)
        cleanup.callback(again.stop)
        cleanup.callback(plant.close)  # before its broker goes
        assert (again.url, again.key) == (first.url, None)
        plant.settings = Settings(data_dir=tmp_path, system_database_url=again.system_database_url)
        plant.until_ended(ids)
        plant.check_once(ids)
        for one, each in zip(ids, steps, strict=True):
            plant.check_uninterrupted(one, each)


# --- two of everything ---------------------------------------------------------------------------------------------------

WAITING_SCHEDULER = """
import os, sys, time
while os.path.exists(sys.argv[1]): time.sleep(0.05)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Started again after its death it waits while a file is there, so that the other one has to take over."""


def test_two_stacks_share_one_database_and_one_leads(tmp_path: Path) -> None:
    steps = 40
    with ExitStack() as cleanup:
        postgres = EmbeddedPostgres.start(tmp_path / "pg", fsync=False)
        cleanup.callback(postgres.stop)
        valkey = EmbeddedValkey.start(tmp_path / "vk")
        cleanup.callback(valkey.stop)
        one = cleanup.enter_context(_one_of_two(tmp_path / "one", postgres, valkey))
        two = cleanup.enter_context(_one_of_two(tmp_path / "two", postgres, valkey))
        assert list(one.processes) == list(two.processes) == ["api", "worker", "scheduler"]
        plant = _plant(one)
        cleanup.callback(plant.close)
        other = cleanup.enter_context(Client(two.url, plant.key))
        plant.until("somebody leads", lambda: len(_leaders(plant)) == 1)
        assert (_leads(one), _leads(two)) == (True, False)

        ids = [plant.submit(steps, client) for client in (plant.customer, other, plant.customer, other)]
        plant.until_started(ids[0])
        [before] = _leaders(plant)
        (tmp_path / "one" / "hold").touch()
        os.kill(one.processes["scheduler"], signal.SIGKILL)
        plant.until("the other one leads", lambda: _leads(two) and _leaders(plant) not in ([], [before]), 15)
        ids.append(plant.submit(steps, other))
        plant.until_ended(ids)
        plant.check_once(ids)
        assert other.statement(ids[0]) == plant.customer.statement(ids[0])
        for workload_id in ids:
            plant.check_uninterrupted(workload_id, steps)
        (tmp_path / "one" / "hold").unlink()


def _one_of_two(folder: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> Stack:
    urls = postgres.database_urls("gridbroker")
    settings = Settings(
        data_dir=folder,
        shared_dir=folder.parent / "shared",
        database_url=urls.owner,
        app_database_url=urls.app,
        system_database_url=urls.system,
        redis_url=valkey.url,
        **FAST,
    )
    scheduler = (sys.executable, "-c", WAITING_SCHEDULER, str(folder / "hold"), *COMMANDS["scheduler"])
    return Stack.start(settings, commands={**COMMANDS, "scheduler": scheduler})


def _leads(stack: Stack) -> bool:
    return "scheduler_leads" in (stack.settings.data_dir / "logs" / "scheduler.log").read_text()


def _leaders(plant: Plant) -> list[int]:
    """The database sessions that hold the leader's lock."""
    query = "select pid from pg_locks where locktype = 'advisory' and granted and objid = $1"
    return [row["pid"] for row in plant.rows(query, LEADER_LOCK)]
