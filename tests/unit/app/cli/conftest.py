"""The command line in this process, a configuration folder of its own, and a server that answers what the test says."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gridbroker.app.cli import main

KEY = "gridbroker_key_AbCdEfGh_neverShownAnywhere"


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


@dataclass(slots=True)
class Broker:
    """A tiny HTTP server. `answers` by method and path: a status and a body; a list of bodies is used up one by one."""

    url: str = ""
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def says(self, method: str, path: str, body: Any, status: int = 200) -> None:
        self.answers[method, path] = (status, body)

    def refuses(self, status: int, code: str = "some_code", **more: Any) -> None:
        problem = {"title": "Title", "status": status, "detail": "Detail.", "code": code, "request_id": "request-1", **more}
        self.answers["*", "*"] = (status, problem)

    def answer(self, method: str, path: str) -> tuple[int, bytes]:
        status, body = self.answers.get((method, path)) or self.answers.get(("*", "*")) or (404, {"code": "not_found"})
        if isinstance(body, list):
            body = body.pop(0) if len(body) > 1 else body[0]
        return status, body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)


@pytest.fixture
def broker() -> Iterator[Broker]:
    known = Broker()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            path = self.path.partition("?")[0]
            known.requests.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            status, content = known.answer(self.command, path)
            self.send_response(status)
            for name, value in known.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    known.url = f"http://127.0.0.1:{server.server_port}"
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder of its own, and no variable from outside."""
    for name in ("GRIDBROKER_URL", "GRIDBROKER_API_KEY", "GRIDBROKER_DATABASE_URL", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "gridbroker"


@pytest.fixture
def offline(config_home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command line without server or key."""

    def run(*arguments: str) -> Said:
        code = main.run(arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture
def cli(offline: Callable[..., Said], broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs a command line with the server's address and a key in the environment."""
    monkeypatch.setenv("GRIDBROKER_URL", broker.url)
    monkeypatch.setenv("GRIDBROKER_API_KEY", KEY)
    return offline
