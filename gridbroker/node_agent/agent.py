"""The node agent: one process that only calls out. A few named threads share one store; the main one waits for the end.

Crash-only: a thread that fails ends the process with its programs left running, and the next start adopts them. Told to stop
(SIGTERM, SIGINT), the agent has every program checkpoint and stop, delivers what it can and leaves the rest spooled.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from gridbroker.node_agent import codec, credentials
from gridbroker.node_agent.backoff import delay_s
from gridbroker.node_agent.client import Client, Refused, Unreachable
from gridbroker.node_agent.clock import rfc3339
from gridbroker.node_agent.codec import Undecodable
from gridbroker.node_agent.config import (
    EXIT_CONFIG,
    EXIT_CRASHED,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_REFUSED,
    AgentConfig,
    BadConfig,
    check,
)
from gridbroker.node_agent.credentials import Locked
from gridbroker.node_agent.energy import EnergySource, ModelledEnergy
from gridbroker.node_agent.fleet import Fleet
from gridbroker.node_agent.journal import Journal
from gridbroker.node_agent.nvml import NoNvml, NvmlEnergy
from gridbroker.node_agent.protocol import (
    MAX_ORDERS_WAIT_S,
    EnergyKind,
    Heartbeat,
    HeartbeatAck,
    NodeCredentials,
    Order,
    ReportKind,
)
from gridbroker.node_agent.reconcile import is_safe_id
from gridbroker.node_agent.runner import Site
from gridbroker.node_agent.sampler import Meter
from gridbroker.node_agent.spool import CHECKPOINT_LANE, Spool
from gridbroker.node_agent.store import Store
from gridbroker.node_agent.uploader import Uploader

ORDERS_MARGIN_S = 10.0
WORRYING_SKEW_S = 30.0
CLEAR_INTERVAL_S = 60.0
LISTEN_S = 0.25
"""How soon a thread that backs off notices that the server was heard meanwhile."""

log = logging.getLogger(__name__)


def run(config: AgentConfig, stop: threading.Event | None = None) -> int:
    """Runs until SIGTERM, SIGINT or `stop`; the exit code. Handles signals when called in the main thread."""
    stop = stop or threading.Event()
    if threading.current_thread() is not threading.main_thread():
        return _run(config, stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _setting(stop))
    # Handlers run in the main thread, so it must never be inside the event that they set: that would be waiting for itself.
    codes: list[int] = []
    worker = threading.Thread(target=lambda: codes.append(_run(config, stop)), name="agent")
    worker.start()
    worker.join()
    return codes[0] if codes else EXIT_CRASHED


def _run(config: AgentConfig, stop: threading.Event) -> int:
    try:
        with credentials.lock(check(config).state_dir):
            return _run_locked(config, stop)
    except BadConfig as error:
        log.error("%s", error)  # noqa: TRY400 - the message is for the operator
        return EXIT_CONFIG
    except Locked as error:
        log.error("%s", error)  # noqa: TRY400
        return EXIT_LOCKED
    except Refused as refusal:
        log.error("the server refused to register this node (%s): %s", refusal.code or refusal.status, refusal.detail)  # noqa: TRY400
        return EXIT_REFUSED


def _run_locked(config: AgentConfig, stop: threading.Event) -> int:
    nvml = _open_nvml(config)
    known = credentials.saved(config.state_dir)
    if known is None:
        known = credentials.register(config, nvml.kind if nvml else EnergyKind.MODELLED, stop.wait)
        if known is None:
            return EXIT_OK
        log.info("registered as node %s", known.node_id)
    source = nvml or ModelledEnergy(idle_w=known.gpu_idle_w, max_w=known.gpu_max_w)
    try:
        return Agent(config, known, source, stop).run()
    finally:
        if nvml is not None:
            nvml.close()


def _open_nvml(config: AgentConfig) -> NvmlEnergy | None:
    """A measured counter cannot be scaled, so a simulated clock never gets one. BadConfig when `nvml` is asked for in vain."""
    if config.energy_source == "modelled" or config.clock.is_simulated:
        return None
    try:
        return NvmlEnergy()
    except NoNvml as error:
        if config.energy_source == "nvml":
            raise BadConfig(f"GRIDBROKER_ENERGY_SOURCE is nvml, but {error}") from error
        log.info("energy is modelled: %s", error)
        return None


class Agent:
    def __init__(self, config: AgentConfig, node: NodeCredentials, source: EnergySource, stop: threading.Event) -> None:
        self._config = config
        self._node = node
        self._stop = stop
        self._has_crashed = False
        self._is_quiet = threading.Event()
        """Set when the last sample was due."""
        self._over = threading.Event()
        """Set when the machinery is to end, after the placements have."""
        self._is_heard = threading.Event()
        """Set when the server answers again after an outage."""
        self._clients: list[Client] = []
        self._store = Store(config.state_dir / "agent.sqlite")
        self._spool = Spool(self._store)
        self._meter = Meter(source, self._spool, config.clock, config.gpu_count)
        self._site = Site(
            journal=Journal(self._store),
            spool=self._spool,
            meter=self._meter,
            clock=config.clock,
            placements_dir=config.state_dir / "placements",
            base_environment=config.base_environment,
            new_client=self._new_client,
            on_end=lambda key: self._fleet.ended(key),  # noqa: PLW0108 - the fleet comes next
        )
        self._fleet = Fleet(self._site, self._start)
        self._uploaders = [self._uploader(is_for_checkpoints=False), self._uploader(is_for_checkpoints=True)]

    def run(self) -> int:
        self._fleet.recover()
        sampler = self._start("sampler", lambda: self._meter.run(self._config.sample_interval_s, self._is_quiet))
        machinery = [
            sampler,
            self._start("uploader", lambda: self._uploaders[0].run(self._over)),
            self._start("checkpoints", lambda: self._uploaders[1].run(self._over)),
            self._start("orders", self._follow_orders),
            self._start("heartbeat", self._beat),
        ]
        while not self._stop.wait(CLEAR_INTERVAL_S):
            self._fleet.apply()
        if not self._has_crashed:
            log.info("stopping: every program is asked to checkpoint")
            self._fleet.close()
            self._is_quiet.set()
            sampler.join(ORDERS_MARGIN_S)
            self._drain()
        self._is_quiet.set()
        self._over.set()
        for client in self._clients:
            client.close()
        self._store.wake()
        for thread in machinery:
            thread.join(ORDERS_MARGIN_S)
        if self._has_crashed:
            return EXIT_CRASHED
        log.info("stopped; %d messages stay spooled", self._spool.backlog())
        if not any(thread.is_alive() for thread in machinery):
            self._store.close()
        return EXIT_OK

    def _drain(self) -> None:
        deadline = time.monotonic() + self._config.drain_s
        for uploader in self._uploaders:
            uploader.hurry()
        self._store.wake()
        while self._spool.backlog() and (left_s := deadline - time.monotonic()) > 0:
            self._store.wait_for_change(self._store.version, min(left_s, 0.5))

    # Threads ------------------------------------------------------------------------------------------------------------------

    def _follow_orders(self) -> None:
        """Long poll: asks again as soon as it is answered, or after the back-off."""
        client = self._new_client()
        version, wait_s, failures = -1, 0, 0
        while not self._stop.is_set():
            self._is_heard.clear()
            path = f"/api/v1/nodes/self/orders?version={version}&wait_s={wait_s}"
            try:
                answer = client.call("GET", path, timeout_s=wait_s + ORDERS_MARGIN_S)
                orders, new_version = self._read_orders(answer)
            except (Unreachable, Refused, Undecodable) as error:
                if self._stop.is_set():
                    return
                failures += 1
                log.log(logging.WARNING if failures == 1 else logging.DEBUG, "orders: %s", error)
                # After an outage the whole state is asked for again.
                version, wait_s = -1, 0
                self._rest(delay_s(failures, getattr(error, "retry_after_s", 0.0)))
                continue
            if failures:
                log.info("orders: the server is back")
                self._hurry()
            self._fleet.apply(orders)
            version, wait_s, failures = new_version, MAX_ORDERS_WAIT_S, 0

    def _rest(self, pause_s: float) -> None:
        """Until the pause is over, the agent is told to stop, or a heartbeat gets through after an outage."""
        deadline = time.monotonic() + pause_s
        while (left_s := deadline - time.monotonic()) > 0 and not self._is_heard.is_set():
            if self._stop.wait(min(left_s, LISTEN_S)):
                return

    def _read_orders(self, answer: Any) -> tuple[tuple[Order, ...], int]:
        """One order that cannot be read is refused; the others still count."""
        if not isinstance(answer, dict) or not isinstance(answer.get("version"), int) or not isinstance(answer.get("orders"), list):
            raise Undecodable("the orders are malformed")
        orders: list[Order] = []
        for item in answer["orders"]:
            try:
                orders.append(codec.decode(Order, item))
            except Undecodable as error:
                self._refuse_unreadable(item, str(error))
        return tuple(orders), answer["version"]

    def _refuse_unreadable(self, item: Any, reason: str) -> None:
        log.error("an order cannot be read: %s", reason)
        placement_id, epoch = (item.get("placement_id"), item.get("epoch")) if isinstance(item, dict) else (None, None)
        if not isinstance(placement_id, str) or not is_safe_id(placement_id) or not isinstance(epoch, int):
            return
        fact = f"unreadable {placement_id} {epoch}"
        with self._store.tx():
            if self._store.fact(fact) is None:
                self._store.set_fact(fact, reason)
                at = rfc3339(self._config.clock.now())
                self._spool.add_report(placement_id, epoch, ReportKind.REFUSED, at, reason=f"unreadable order: {reason}")

    def _beat(self) -> None:
        client = self._new_client()
        interval_s = self._config.heartbeat_interval_s or self._node.heartbeat_interval_s
        failures = 0
        while not self._over.is_set():
            try:
                answer = client.call("POST", "/api/v1/nodes/self/heartbeat", codec.encode(self._heartbeat()))
            except (Unreachable, Refused) as error:
                failures += 1
                log.log(logging.WARNING if failures == 1 else logging.DEBUG, "heartbeat: %s", error)
            else:
                if failures:
                    self._hurry()
                failures = 0
                self._check_skew(answer)
            self._over.wait(interval_s)

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            sent_at=rfc3339(self._config.clock.wall()),
            gpus=self._meter.statuses(),
            placements=self._fleet.held(),
            spool_backlog=self._spool.backlog(),
        )

    def _check_skew(self, answer: Any) -> None:
        try:
            skew_s = codec.decode(HeartbeatAck, answer).clock_skew_s
        except Undecodable as error:
            log.warning("heartbeat: %s", error)
            return
        if abs(skew_s) > WORRYING_SKEW_S:
            log.warning("this machine's clock is off by %.0f s; its samples may be refused", skew_s)

    # Parts --------------------------------------------------------------------------------------------------------------------

    def _uploader(self, *, is_for_checkpoints: bool) -> Uploader:
        return Uploader(
            self._new_client(),
            self._spool,
            lambda lane: lane.startswith(CHECKPOINT_LANE) == is_for_checkpoints,
            lambda placement_id, epoch: self._site.checkpoint_dir((placement_id, epoch)),
            lambda placement_id, epoch: self._fleet.fence(placement_id, epoch),  # noqa: PLW0108 - the fleet comes later
        )

    def _new_client(self) -> Client:
        client = Client(self._config.server_url, self._node.key)
        self._clients = [known for known in self._clients if not known.is_closed] + [client]
        return client

    def _hurry(self) -> None:
        self._is_heard.set()
        for uploader in self._uploaders:
            uploader.hurry()
        self._store.wake()

    def _start(self, name: str, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(name, target), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, name: str, target: Callable[[], None]) -> None:
        try:
            target()
        except Exception:
            log.exception("%s failed; the agent ends, programs keep running", name)
            self._has_crashed = True
            self._stop.set()


def _setting(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop.set()

    return on_signal
