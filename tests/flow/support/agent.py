"""A node agent that follows a script and speaks the real protocol: what it sends is what the real agent would."""

import dataclasses
import hashlib
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import httpx

from gridbroker.node_agent.codec import decode, encode
from gridbroker.node_agent.protocol import (
    CheckpointCommit,
    CheckpointFile,
    EnergyKind,
    GpuStatus,
    Heartbeat,
    LogBatch,
    LogLine,
    NodeRegistration,
    Order,
    Orders,
    Report,
    ReportKind,
    Sample,
    SampleBatch,
    manifest_bytes,
)

if TYPE_CHECKING:
    from tests.flow.support.world import World

IDLE_W, BUSY_W = 70.0, 500.0
JSON = {"Content-Type": "application/json"}
_SELF = "/api/v1/nodes/self"


class ScriptedAgent:
    """Its meters are exact: each GPU draws 500 W while a program runs on it, else 70 W."""

    def __init__(self, world: "World", client: httpx.AsyncClient, node_id: str, name: str, gpu_count: int) -> None:
        self.world, self.client, self.node_id, self.name, self.gpu_count = world, client, node_id, name, gpu_count
        self.boot_id = f"boot-{name}"
        self.alive = True
        self.energy_mj = [0] * gpu_count
        self.used_mj: Counter[str] = Counter()
        """What each placement drew while it ran, by our own count."""
        self.busy: dict[int, str] = {}
        """The placement that runs on each GPU."""
        self._read_at: datetime | None = None
        self._sample_seq = 0
        self._report_seq: Counter[str] = Counter()
        self._log_seq: Counter[str] = Counter()
        self._said: list[tuple[str, str, str | bytes]] = []
        """Everything sent so far: method, path, body."""

    @classmethod
    async def register(cls, world: "World", token: str, *, name: str, zone: str, gpu_count: int, **changes: Any) -> Self:
        client = world.client()
        response = await client.post(
            "/api/v1/nodes",
            content=encode(registration(world, token, name=name, zone=zone, gpu_count=gpu_count, **changes)),
            headers=JSON,
        )
        assert response.status_code == 201, response.text
        credentials = response.json()
        return cls(world, world.client(credentials["key"]), credentials["node_id"], name, gpu_count)

    def on(self, world: "World") -> "ScriptedAgent":
        """The same node before the application that the world serves now."""
        client = world.client(self.client.headers["Authorization"].removeprefix("Bearer "))
        return ScriptedAgent(world, client, self.node_id, self.name, self.gpu_count)

    @property
    def samples_sent(self) -> int:
        return self._sample_seq * self.gpu_count

    # --- what it is told -----------------------------------------------------------------------------------------------

    async def orders(self) -> dict[str, Order]:
        response = await self.client.get(f"{_SELF}/orders")
        assert response.status_code == 200, response.text
        return {order.placement_id: order for order in decode(Orders, response.json()).orders}

    async def order(self, placement_id: str) -> Order:
        return (await self.orders())[placement_id]

    # --- what it tells -------------------------------------------------------------------------------------------------

    async def beat(self, **changes: Any) -> httpx.Response:
        gpus = tuple(
            GpuStatus(index=index, utilisation=1.0 if index in self.busy else 0.0, power_w=self._power_w(index))
            for index in range(self.gpu_count)
        )
        beat = Heartbeat(sent_at=self.world.clock.wall().isoformat(), gpus=gpus)
        return await self._send(f"{_SELF}/heartbeat", dataclasses.replace(beat, **changes))

    async def sample(self) -> None:
        """One reading of every GPU, now."""
        now = self.world.clock.now()
        self._run_meters(now)
        self._sample_seq += 1
        readings = tuple(
            Sample(
                seq=self._sample_seq,
                gpu_index=index,
                at=now.isoformat(),
                energy_mj=self.energy_mj[index],
                power_w=self._power_w(index),
                utilisation=1.0 if index in self.busy else 0.0,
                kind=EnergyKind.MEASURED,
            )
            for index in range(self.gpu_count)
        )
        response = await self.send_samples(*readings)
        assert response.status_code == 200, response.text

    async def send_samples(self, *readings: Sample, boot_id: str | None = None) -> httpx.Response:
        return await self._send(f"{_SELF}/samples", SampleBatch(boot_id=boot_id or self.boot_id, samples=readings))

    async def report(self, order: Order, kind: ReportKind | str, **details: Any) -> httpx.Response:
        self._report_seq[order.placement_id] += 1
        given = Report(
            epoch=order.epoch,
            seq=self._report_seq[order.placement_id],
            kind=ReportKind(kind),
            at=self.world.clock.now().isoformat(),
        )
        return await self.send_report(order, dataclasses.replace(given, **details))

    async def send_report(self, order: Order, report: Report) -> httpx.Response:
        return await self._send(f"{_SELF}/placements/{order.placement_id}/reports", report)

    async def run(self, order: Order) -> None:
        """Start the program, read the meters and say so."""
        await self.sample()
        self.busy |= dict.fromkeys(order.gpu_indices, order.placement_id)
        await self.sample()
        response = await self.report(order, ReportKind.RUNNING)
        assert response.status_code == 204, response.text

    async def progress(self, order: Order, step: int, total_steps: int) -> None:
        response = await self.report(order, ReportKind.PROGRESS, step=step, total_steps=total_steps)
        assert response.status_code == 204, response.text

    async def exit(self, order: Order, code: int, **details: Any) -> None:
        """The program ends: last readings first, as the protocol wants it."""
        await self.halt(order)
        response = await self.report(order, ReportKind.EXITED, exit_code=code, **details)
        assert response.status_code == 204, response.text

    async def halt(self, order: Order) -> None:
        """The program is gone; nothing is reported of it."""
        await self.sample()
        self.busy = {index: running for index, running in self.busy.items() if running != order.placement_id}
        await self.sample()

    async def log(self, order: Order, *texts: str) -> httpx.Response:
        lines: list[LogLine] = []
        for text in texts:
            self._log_seq[order.placement_id] += 1
            at = self.world.clock.now().isoformat()
            lines.append(LogLine(seq=self._log_seq[order.placement_id], at=at, stream="stdout", text=text))
        return await self.send_logs(order, *lines)

    async def send_logs(self, order: Order, *lines: LogLine) -> httpx.Response:
        return await self._send(f"{_SELF}/placements/{order.placement_id}/logs", LogBatch(epoch=order.epoch, lines=lines))

    async def checkpoint(self, order: Order, step: int, files: dict[str, bytes] | None = None) -> httpx.Response:
        """Upload the files, then commit."""
        contents = files or {"model.pt": f"weights after step {step}".encode()}
        for content in contents.values():
            response = await self.put_blob(order, content)
            assert response.status_code == 204, response.text
        return await self.commit(order, commit_of(order, step, contents))

    async def commit(self, order: Order, commit: CheckpointCommit) -> httpx.Response:
        return await self._send(f"{_SELF}/placements/{order.placement_id}/checkpoints", commit)

    async def put_blob(self, order: Order, content: bytes, sha256: str | None = None) -> httpx.Response:
        return await self._say("PUT", f"{_SELF}/placements/{order.placement_id}/blobs/{sha256 or sha256_of(content)}", content)

    async def get_blob(self, order: Order, sha256: str) -> httpx.Response:
        return await self.client.get(f"{_SELF}/placements/{order.placement_id}/blobs/{sha256}")

    async def has_blob(self, order: Order, sha256: str) -> bool:
        return (await self.client.head(f"{_SELF}/placements/{order.placement_id}/blobs/{sha256}")).status_code == 200

    async def send(self, path: str, text: str) -> httpx.Response:
        """Any text at all."""
        return await self.client.post(f"{_SELF}/{path}", content=text, headers=JSON)

    async def say_all_again(self) -> list[tuple[str, int]]:
        """Everything that was ever said, in the same order. Paths and status codes of the answers."""
        return [(path, (await self._once(method, path, body)).status_code) for method, path, body in list(self._said)]

    async def _send(self, path: str, body: Any) -> httpx.Response:
        return await self._say("POST", path, encode(body))

    async def _say(self, method: str, path: str, body: str | bytes) -> httpx.Response:
        """As often as the world wants it; a repetition must be answered as the first time."""
        self._said.append((method, path, body))
        first = await self._once(method, path, body)
        for _ in range(self.world.repeats - 1):
            again = await self._once(method, path, body)
            assert again.status_code == first.status_code, again.text
        return first

    async def _once(self, method: str, path: str, body: str | bytes) -> httpx.Response:
        return await self.client.request(method, path, content=body, headers=JSON if method == "POST" else None)

    # --- meters --------------------------------------------------------------------------------------------------------

    def _power_w(self, index: int) -> float:
        return BUSY_W if index in self.busy else IDLE_W

    def _run_meters(self, now: datetime) -> None:
        elapsed_s = (now - self._read_at).total_seconds() if self._read_at else 0.0
        self._read_at = now
        for index in range(self.gpu_count):
            drawn_mj = round(self._power_w(index) * 1000 * elapsed_s)
            self.energy_mj[index] += drawn_mj
            if index in self.busy:
                self.used_mj[self.busy[index]] += drawn_mj


def registration(world: "World", token: str, **changes: Any) -> NodeRegistration:
    given = NodeRegistration(
        token=token,
        name="n1",
        zone="ES",
        gpu_model="H100",
        gpu_count=1,
        price_eur_per_gpu_hour="2.40",
        pue=1.2,
        energy_kind=EnergyKind.MEASURED,
        agent_version="scripted",
        sent_at=world.clock.wall().isoformat(),
    )
    return dataclasses.replace(given, **changes)


def commit_of(order: Order, step: int, contents: dict[str, bytes]) -> CheckpointCommit:
    files = tuple(CheckpointFile(path=path, bytes=len(content), sha256=sha256_of(content)) for path, content in contents.items())
    return CheckpointCommit(
        epoch=order.epoch, step=step, files=files, manifest_sha256=hashlib.sha256(manifest_bytes(files)).hexdigest()
    )


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
