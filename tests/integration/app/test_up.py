"""`gridbroker up` as a process: what it prints, refuses and exits with."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

UP = [sys.executable, "-P", "-m", "gridbroker.app.cli.main", "up", "--json", "--data-dir"]
PATIENCE_S = 60

pytestmark = pytest.mark.slow


def _start(folder: Path, port: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen([*UP, str(folder), "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _refused(folder: Path, port: int = 0) -> tuple[int, str]:
    """The exit code and the problem's `code`."""
    process = _start(folder, port)
    out, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, json.loads(out)["code"]


def test_it_prints_the_key_once_refuses_a_second_start_and_stops_cleanly(tmp_path: Path) -> None:
    first = _start(tmp_path / "data")
    try:
        assert first.stdout is not None
        ready = json.loads(first.stdout.readline())
        assert (ready["pid"], ready["data_dir"]) == (first.pid, str(tmp_path / "data"))
        headers = {"Authorization": f"Bearer {ready['admin_key']}"}
        me = httpx.get(f"{ready['url']}/api/v1/whoami", headers=headers, trust_env=False)
        assert me.json()["role"] == "admin"
        assert _refused(tmp_path / "data") == (10, "data_dir_in_use")
        assert _refused(tmp_path / "other", int(ready["url"].rpartition(":")[2])) == (11, "port_in_use")
    finally:
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=PATIENCE_S)
    assert (first.returncode, out) == (0, "")
    assert ready["admin_key"] not in err
    kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not any(ready["admin_key"].encode() in path.read_bytes() for path in kept)
    again = _start(tmp_path / "data")
    assert again.stdout is not None
    assert json.loads(again.stdout.readline())["admin_key"] is None
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0


def test_a_folder_that_cannot_be_written_and_a_port_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert _refused(tmp_path / "file" / "data") == (12, "data_dir_unwritable")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert _refused(tmp_path / "data", taken.getsockname()[1]) == (11, "port_in_use")
