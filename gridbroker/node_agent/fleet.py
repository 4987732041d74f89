"""All placements of this node: recovers them at the start, makes them match the orders, and clears away what is over."""

import logging
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta

from gridbroker.node_agent.backends import process
from gridbroker.node_agent.clock import rfc3339
from gridbroker.node_agent.journal import LIVE, Entry, LocalState
from gridbroker.node_agent.protocol import HeldPlacement, Order, ReportKind
from gridbroker.node_agent.reconcile import Decision, Deed, Key, reconcile
from gridbroker.node_agent.runner import EXIT_RESUME_ME, Runner, Site, run_folder

STOP_MARGIN = timedelta(seconds=5)
_KILLED = 137

log = logging.getLogger(__name__)


class Fleet:
    """Thread-safe."""

    def __init__(self, site: Site, start_thread: Callable[[str, Callable[[], None]], threading.Thread]) -> None:
        self._site = site
        self._start_thread = start_thread
        self._lock = threading.RLock()
        self._runners: dict[Key, Runner] = {}
        self._threads: dict[Key, threading.Thread] = {}
        self._orders: tuple[Order, ...] | None = None
        self._is_closing = False

    def recover(self) -> None:
        """Adopts what an earlier agent left running, and ends what died meanwhile. Before the first sample and the first order."""
        site = self._site
        site.journal.prune(site.clock.wall())
        for entry in site.journal.entries():
            if entry.state not in LIVE or entry.runs == 0:
                continue
            program = process.recover(run_folder(site.folder(entry.key), entry.runs))
            if program is None:
                continue
            log.info("placement %s: found %s", entry.key[0], "running" if program.is_alive() else "ended")
            site.meter.adopt(entry.order.gpu_indices, entry.order.load_hint)
            self._launch(Runner(site, entry, program))

    def apply(self, orders: tuple[Order, ...] | None = None) -> None:
        """Makes the node match these orders, or the last ones once more. Before the first ones nothing is touched."""
        with self._lock:
            self._orders = self._orders if orders is None else orders
            if self._orders is None or self._is_closing:
                return
            entries = {entry.key: entry for entry in self._site.journal.entries()}
            live = set(self._runners)
            ended = {key for key, entry in entries.items() if entry.state not in LIVE and key not in live}
            for decision in reconcile(self._orders, live, ended):
                self._do(decision, entries)
            self._clear(entries)

    def fence(self, placement_id: str, epoch: int) -> None:
        """The server says that this lease is over."""
        with self._lock:
            runner = self._runners.get((placement_id, epoch))
        if runner is not None:
            log.warning("placement %s: its lease %d is over; killed", placement_id, epoch)
            runner.fence()
        else:
            self._site.spool.forget_placement(placement_id, epoch)

    def held(self) -> tuple[HeldPlacement, ...]:
        with self._lock:
            return tuple(
                HeldPlacement(placement_id=key[0], epoch=key[1], running=runner.is_running) for key, runner in self._runners.items()
            )

    def close(self) -> None:
        """Has every program checkpoint and stop, and waits for it: at most its grace and a margin."""
        with self._lock:
            self._is_closing = True
            running = [(runner, self._threads[key], self._order_of(key)) for key, runner in self._runners.items()]
        for runner, _, order in running:
            runner.stop(order.grace_s)
        for _, thread, order in running:
            thread.join((timedelta(seconds=order.grace_s) + STOP_MARGIN).total_seconds())

    def ended(self, key: Key) -> None:
        """A runner's last word. Something may have waited for its end."""
        with self._lock:
            self._runners.pop(key, None)
            self._threads.pop(key, None)
        self._site.spool.store.wake()
        self.apply()

    def _do(self, decision: Decision, entries: dict[Key, Entry]) -> None:
        key, order = decision.key, decision.order
        if decision.deed is Deed.KILL:
            self._runners[key].kill()
        elif decision.deed is Deed.FENCE:
            self._runners[key].fence()
        elif decision.deed is Deed.STOP and order is not None:
            self._runners[key].stop(order.grace_s)
        elif decision.deed is Deed.NEVER_STARTED and order is not None:
            self._say_never_started(order)
        elif decision.deed is Deed.START and order is not None:
            self._site.journal.accept(order, self._site.clock.wall())
            self._launch(Runner(self._site, entries.get(key) or self._site.journal.entry(key)))

    def _launch(self, runner: Runner) -> None:
        with self._lock:
            self._runners[runner.key] = runner
            self._threads[runner.key] = self._start_thread(f"placement-{runner.key[0][:8]}", runner.run)

    def _say_never_started(self, order: Order) -> None:
        site = self._site
        with site.spool.store.tx():
            site.journal.accept(order, site.clock.wall())
            site.journal.move((order.placement_id, order.epoch), LocalState.ENDED, site.clock.wall())
            site.spool.add_report(
                order.placement_id,
                order.epoch,
                ReportKind.EXITED,
                rfc3339(site.clock.now()),
                exit_code=_KILLED if order.action == "kill" else EXIT_RESUME_ME,
                reason="it never started here",
            )

    def _clear(self, entries: dict[Key, Entry]) -> None:
        """Removes the folders of what ended, is delivered, and is no longer ordered."""
        listed = {(order.placement_id, order.epoch) for order in self._orders or ()}
        site = self._site
        for key, entry in entries.items():
            if key in listed or key in self._runners or entry.state is LocalState.CLEARED:
                continue
            if entry.state in LIVE or not site.spool.holds(key[0]):
                shutil.rmtree(site.folder(key), ignore_errors=True)
                site.journal.move(key, LocalState.CLEARED, site.clock.wall())

    def _order_of(self, key: Key) -> Order:
        return self._site.journal.entry(key).order
