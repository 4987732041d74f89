"""The server side of the wire contract in one process: real sockets, real bytes, and knobs for what goes wrong."""

import contextlib
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "node-key-that-must-not-leak"
IDLE_W, MAX_W = 50.0, 450.0


@dataclass
class Faults:
    """How often each comes next; negative: until changed."""

    answer_500: int = 0
    drop_connection: int = 0
    """The request is handled, but its answer never leaves."""
    tampered_downloads: int = 0
    truncated_downloads: int = 0
    refuse_paths: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Part of a path -> (status, code)."""


@dataclass
class Broker:
    """What the server knows. Everything that arrived stands in `arrivals`, in order of arrival."""

    token: str = "one-time-token"
    version: int = 1
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    registrations: list[dict[str, Any]] = field(default_factory=list)
    reports: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    samples: dict[tuple[str, int, int], dict[str, Any]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    checkpoints: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    heartbeats: list[dict[str, Any]] = field(default_factory=list)
    arrivals: list[tuple[str, str]] = field(default_factory=list)
    stale: set[tuple[str, int]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    """Breaches of the contract."""
    faults: Faults = field(default_factory=Faults)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def order(self, placement_id: str, command: list[str], **fields: Any) -> None:
        with self.changed:
            base = {"placement_id": placement_id, "epoch": 1, "action": "run", "workload_id": f"w-{placement_id}", "attempt": 1}
            self.orders[placement_id] = base | {"command": command, "gpu_indices": [0]} | fields
            self._bump()

    def change(self, placement_id: str, **fields: Any) -> None:
        with self.changed:
            self.orders[placement_id] |= fields
            self._bump()

    def unlist(self, placement_id: str) -> None:
        with self.changed:
            del self.orders[placement_id]
            self._bump()

    def _bump(self) -> None:
        self.version += 1
        self.changed.notify_all()

    def kinds(self, placement_id: str) -> list[str]:
        return [report["kind"] for report in self.reports.get(placement_id, [])]

    def exited(self, placement_id: str) -> dict[str, Any] | None:
        return next((report for report in self.reports.get(placement_id, []) if report["kind"] in ("exited", "refused")), None)

    def texts(self, placement_id: str, stream: str = "stdout") -> list[str]:
        return [line["text"] for line in self.logs.get(placement_id, []) if line["stream"] == stream]

    def wait(self, condition: Any, timeout_s: float = 10.0) -> Any:
        """Until `condition()` is true; its value."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout_s), f"timed out; reports {self.reports}, logs {self.logs}"
            return condition()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "BrokerServer"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_HEAD = do_GET

    def _handle(self) -> None:
        broker, faults = self.server.broker, self.server.broker.faults
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        with broker.changed:
            if _strikes(faults, "answer_500"):
                return self._problem(500, "internal")
            for part, (status, code) in faults.refuse_paths.items():
                if part in path:
                    return self._problem(status, code)
            if path != "/api/v1/nodes" and self.headers.get("Authorization") != f"Bearer {KEY}":
                return self._problem(401, "unauthenticated")
            status, answer = self._route(path, body)
            broker.changed.notify_all()
            if _strikes(faults, "drop_connection"):
                self.close_connection = True
                return None
        return self._answer(status, answer)

    def _route(self, path: str, body: bytes) -> tuple[int, Any]:
        broker = self.server.broker
        if path == "/api/v1/nodes":
            return self._register(json.loads(body))
        tail = path.removeprefix("/api/v1/nodes/self/")
        if tail == "heartbeat":
            broker.heartbeats.append(json.loads(body))
            return 200, {"server_time": "2026-03-20T12:00:00Z", "clock_skew_s": 0.0}
        if tail == "orders":
            return self._orders()
        if tail == "samples":
            return self._samples(json.loads(body))
        _, placement_id, kind, *rest = tail.split("/")
        if kind == "blobs":
            return self._blob(rest[0], body)
        return self._placement(placement_id, kind, json.loads(body))

    def _register(self, body: dict[str, Any]) -> tuple[int, Any]:
        broker = self.server.broker
        if body["token"] != broker.token or broker.registrations:
            return 401, {"code": "token_used", "detail": "this token was used or has expired"}
        broker.registrations.append(body)
        answer = {"node_id": "node-1", "key": KEY, "heartbeat_interval_s": 0.5, "server_time": "2026-03-20T12:00:00Z"}
        return 201, answer | {"gpu_idle_w": IDLE_W, "gpu_max_w": MAX_W}

    def _orders(self) -> tuple[int, Any]:
        broker = self.server.broker
        query = parse_qs(urlsplit(self.path).query)
        version, wait_s = int(query["version"][0]), float(query["wait_s"][0])
        broker.changed.wait_for(lambda: broker.version != version or self.server.is_closing, min(wait_s, 5.0))
        return 200, {"version": broker.version, "orders": list(broker.orders.values())}

    def _samples(self, body: dict[str, Any]) -> tuple[int, Any]:
        broker = self.server.broker
        accepted = 0
        for sample in body["samples"]:
            key = (body["boot_id"], sample["gpu_index"], sample["seq"])
            if key not in broker.samples:
                accepted += 1
                broker.samples[key] = sample
        broker.arrivals.append(("", "samples"))
        return 200, {"accepted": accepted, "duplicates": len(body["samples"]) - accepted}

    def _placement(self, placement_id: str, kind: str, body: dict[str, Any]) -> tuple[int, Any]:
        broker = self.server.broker
        if (placement_id, body["epoch"]) in broker.stale:
            return 409, {"code": "stale_epoch", "detail": "another lease is current"}
        broker.arrivals.append((placement_id, body["kind"] if kind == "reports" else kind))
        if kind == "reports":
            known = broker.reports.setdefault(placement_id, [])
            same = [report for report in known if report["seq"] == body["seq"]]
            if same and same != [body]:
                broker.problems.append(f"two different reports with seq {body['seq']}")
            known.extend([] if same else [body])
            return 204, None
        if kind == "logs":
            lines = broker.logs.setdefault(placement_id, [])
            new = [line for line in body["lines"] if line["seq"] > (lines[-1]["seq"] if lines else 0)]
            lines.extend(new)
            return 200, {"accepted": len(new)}
        missing = [file for file in body["files"] if file["sha256"] not in broker.blobs]
        if missing:
            broker.problems.append("a checkpoint was committed before its blobs")
        broker.checkpoints.setdefault(placement_id, []).append(body)
        return 201, {"checkpoint_id": f"{placement_id}-{body['step']}"}

    def _blob(self, sha256: str, body: bytes) -> tuple[int, Any]:
        broker = self.server.broker
        if self.command == "PUT":
            if hashlib.sha256(body).hexdigest() != sha256:
                return 422, {"code": "hash_mismatch", "detail": "the bytes are others"}
            broker.blobs[sha256] = body
            return 204, None
        if sha256 not in broker.blobs:
            return 404, {"code": "not_found", "detail": "no such blob"}
        return 200, broker.blobs[sha256]

    def _problem(self, status: int, code: str) -> None:
        self._answer(status, {"code": code, "detail": "as the test asked"})

    def _answer(self, status: int, answer: Any) -> None:
        faults = self.server.broker.faults
        content = b"" if answer is None else answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        announced = len(content)
        if isinstance(answer, bytes) and self.command == "GET":
            if _strikes(faults, "tampered_downloads"):
                content = bytes([content[0] ^ 1]) + content[1:]
            elif _strikes(faults, "truncated_downloads"):
                content, self.close_connection = content[: len(content) // 2], True
        try:
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(announced))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        except OSError:
            self.close_connection = True


class BrokerServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, broker: Broker, port: int = 0) -> None:
        self.broker = broker
        self.is_closing = False
        self._open: set[Any] = set()
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> Any:
        request, address = super().get_request()
        self._open.add(request)
        return request, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def stop(self) -> None:
        """Gone from one moment to the next, kept connections included."""
        self.is_closing = True
        with self.broker.changed:
            self.broker.changed.notify_all()
        self.shutdown()
        self.server_close()
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(2)
            request.close()


def _strikes(faults: Faults, name: str) -> bool:
    left = getattr(faults, name)
    if left > 0:
        setattr(faults, name, left - 1)
    return left != 0
