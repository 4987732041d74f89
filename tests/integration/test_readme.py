"""The README's commands, run as they stand there: in a scratch folder, with a home of its own, on a terminal."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gridbroker.app.embedded.ports import free_port
from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.app.embedded.valkey import EmbeddedValkey

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
# A further block must be given a test before this passes again.
DEMO, TESTS, UP, MEMBERS, RUN, SEED, MIGRATE, *PROCESSES = (block.strip() for block in BLOCKS)
README_URL = "http://127.0.0.1:8000"
AWAIT_NODE_AND_MONEY = r"""
for attempt in $(seq 60); do
    ./dev gridbroker nodes list --profile admin --json | grep -q '"health":"healthy"' && break; sleep 0.2
done
for attempt in $(seq 60); do ./dev gridbroker ledger balance | grep -q 'Available *25.00' && break; sleep 0.2; done
"""
"""What a person does by looking: the node registers and the card is charged in the background."""


class Place:
    """A scratch folder from which `./dev` is the repository's, with nothing of ours in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "home").mkdir()
        (folder / "tmp").mkdir()
        (folder / "dev").write_text(f'#!/bin/sh\nexec "{ROOT / "dev"}" "$@"\n')
        (folder / "dev").chmod(0o755)
        self.environment = {
            "PATH": os.environ["PATH"],  # noqa: TID251 - where sh and bash are
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "COLUMNS": "200",
        }

    def run(self, command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @contextmanager
    def background(self, command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on until it is told to stop; killed when the block leaves it running."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_demonstration(place: Place) -> None:
    assert DEMO == "./dev gridbroker demo"
    ended = place.run(f"{DEMO} --json", timeout_s=110)
    assert ended.returncode == 0, ended.stderr[-3000:]
    summary = json.loads(ended.stdout.splitlines()[-1])
    assert (summary["ok"], summary["receipt_verified"], summary["grid_kind"]) == (True, True, "modelled")
    assert (summary["moves"] >= 1, summary["steps_lost"]) == (True, 0)
    assert Path(summary["receipt_file"]).is_file()


def test_the_test_command_is_what_ci_runs() -> None:
    commands = [line.rpartition(";")[2].strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    assert TESTS in commands


def test_a_first_session(place: Place) -> None:
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    place.environment |= {"GRIDBROKER_API_PORT": url.rpartition(":")[2]}
    log = place.folder / "up.log"
    with place.background(UP, log) as stack:
        key = wait_for(log, r"Admin key +(\S+)", stack)
        place.environment |= {"GRIDBROKER_URL": url}
        script = f"set -e -o pipefail\n{MEMBERS}\n{AWAIT_NODE_AND_MONEY}\n{RUN}\n{SEED}\necho the session is over"
        shown = session(place, script.replace(README_URL, url), key)
        assert re.search(r"completed.* on node-1 in ES", shown), shown[-3000:]
        assert re.search(r"^verified", shown, flags=re.MULTILINE), shown[-3000:]
        stack.send_signal(signal.SIGINT)
        assert stack.wait(20) == 0, log.read_text()[-3000:]


def test_processes_of_their_own(
    place: Place, postgres: EmbeddedPostgres, database_name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    urls = postgres.database_urls(database_name)
    valkey = EmbeddedValkey.start(tmp_path_factory.mktemp("valkey"))
    port = free_port("127.0.0.1")
    place.environment |= {
        "GRIDBROKER_DATABASE_URL": urls.owner,
        "GRIDBROKER_APP_DATABASE_URL": urls.app,
        "GRIDBROKER_SYSTEM_DATABASE_URL": urls.system,
        "GRIDBROKER_REDIS_URL": valkey.url,
        "GRIDBROKER_API_PORT": str(port),
    }
    try:
        migrated = place.run(f"set -e\n{MIGRATE}", timeout_s=60)
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        api, worker, scheduler = PROCESSES
        run_alone(place, worker, lambda log, process: wait_for(log, "(worker_started)", process))
        run_alone(place, scheduler, lambda log, process: wait_for(log, "(scheduler_leads)", process))
        run_alone(place, api, lambda _log, process: wait_until_ready(f"http://127.0.0.1:{port}/ready", process))
    finally:
        valkey.stop()


def run_alone(place: Place, command: str, wait: Callable[[Path, subprocess.Popen[bytes]], object]) -> None:
    """Start one process, wait until it works, stop it as a service manager would."""
    log = place.folder / f"{command.rpartition(' ')[2]}.log"
    with place.background(command, log) as process:
        wait(log, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()[-3000:]


def wait_for(log: Path, pattern: str, process: subprocess.Popen[bytes], timeout_s: float = 40) -> str:
    """The pattern's group once the log holds it."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := re.search(pattern, log.read_text())):
        assert process.poll() is None and time.monotonic() < deadline_s, log.read_text()[-3000:]
        time.sleep(0.1)
    return found[1]


def wait_until_ready(url: str, process: subprocess.Popen[bytes], timeout_s: float = 40) -> None:
    deadline_s = time.monotonic() + timeout_s
    while True:
        assert process.poll() is None and time.monotonic() < deadline_s
        with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            assert answer.status == 200
            return
        time.sleep(0.1)


def session(place: Place, script: str, admin_key: str, timeout_s: float = 100) -> str:
    """Run a script on a terminal, typing the key when it is asked for; all that the terminal showed. Fails when the script does."""
    spawn = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    with subprocess.Popen(
        [sys.executable, "-c", spawn, "bash", "-c", script],
        cwd=place.folder,
        env=place.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as terminal:
        try:
            shown = _converse(terminal, admin_key, time.monotonic() + timeout_s)
            assert terminal.wait(10) == 0, shown[-3000:]
        finally:
            if terminal.poll() is None:
                os.killpg(terminal.pid, signal.SIGKILL)
    assert "the session is over" in shown, shown[-3000:]
    return shown


def _converse(terminal: subprocess.Popen[bytes], admin_key: str, deadline_s: float) -> str:
    assert terminal.stdin is not None and terminal.stdout is not None
    shown, asked = b"", False
    while chunk := _read(terminal.stdout.fileno(), deadline_s, shown):
        shown += chunk
        if not asked and b"API key:" in shown:
            asked = True
            terminal.stdin.write(admin_key.encode() + b"\n")
            terminal.stdin.flush()
    return shown.decode(errors="replace").replace("\r\n", "\n")


def _read(descriptor: int, deadline_s: float, so_far: bytes) -> bytes:
    ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
    assert ready, f"the session took too long; so far:\n{so_far.decode(errors='replace')[-3000:]}"
    return os.read(descriptor, 65536)
