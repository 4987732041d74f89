"""Empties the spool towards the server: each lane in order, each with its own back-off, nothing lost by a server that is away."""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gridbroker.node_agent import checkpoint, codec
from gridbroker.node_agent.backoff import delay_s
from gridbroker.node_agent.checkpoint import BadCheckpoint
from gridbroker.node_agent.client import Client, Refused, Unreachable
from gridbroker.node_agent.protocol import MAX_SAMPLES_PER_BATCH, CheckpointCommit, CheckpointFile
from gridbroker.node_agent.spool import CHECKPOINT_LANE, SAMPLES_LANE, Batch, Spool

IDLE_WAIT_S = 5.0
MAX_REPAIRS = 3
_REPAIRABLE = frozenset({"hash_mismatch", "checkpoint_incomplete"})
"""Refusals of a checkpoint that looking and sending once more may cure."""
_KEY_PROBLEM = 401

log = logging.getLogger(__name__)


def placement_path(placement_id: str) -> str:
    return f"/api/v1/nodes/self/placements/{placement_id}"


@dataclass(slots=True)
class Lane:
    failures: int = 0
    repairs: int = 0
    not_before_s: float = 0.0
    """On the monotonic clock."""
    most: int = MAX_SAMPLES_PER_BATCH
    """Messages per batch; halved when a batch is refused, until the one bad message stands alone."""


class Uploader:
    """One thread for the lanes that `serves` picks. Two of them keep a large checkpoint from holding up samples and logs."""

    def __init__(
        self,
        client: Client,
        spool: Spool,
        serves: Callable[[str], bool],
        checkpoint_dir: Callable[[str, int], Path],
        on_fenced: Callable[[str, int], None],
    ) -> None:
        self._client = client
        self._spool = spool
        self._serves = serves
        self._checkpoint_dir = checkpoint_dir
        self._on_fenced = on_fenced
        self._lanes: dict[str, Lane] = {}
        self._described: tuple[Path, tuple[CheckpointFile, ...]] | None = None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            seen = self._spool.store.version
            names = [name for name in self._spool.lanes() if self._serves(name)]
            self._lanes = {name: self._lanes.get(name, Lane()) for name in names}
            progressed = [self._serve(name, stop) for name in names]
            if not any(progressed):
                self._spool.store.wait_for_change(seen, self._pause_s())

    def hurry(self) -> None:
        """Forget the back-off: something says that the server is there."""
        for lane in list(self._lanes.values()):
            lane.not_before_s = 0.0

    def _pause_s(self) -> float:
        now = time.monotonic()
        waits = [lane.not_before_s - now for lane in self._lanes.values() if lane.not_before_s > now]
        return min([IDLE_WAIT_S, *waits])

    def _serve(self, name: str, stop: threading.Event) -> bool:
        """Whether something was delivered or given up."""
        lane = self._lanes[name]
        if stop.is_set() or time.monotonic() < lane.not_before_s:
            return False
        batch = self._spool.next_batch(name, lane.most)
        if batch is None:
            return False
        try:
            self._deliver(batch)
        except Unreachable as error:
            return self._later(lane, batch, error, error.retry_after_s)
        except BadCheckpoint as error:
            log.warning("%s: %s; not uploaded", name, error)
        except FileNotFoundError:
            log.info("%s: superseded before it was uploaded", name)
        except Refused as refusal:
            return self._refused(lane, batch, refusal)
        else:
            lane.most = min(MAX_SAMPLES_PER_BATCH, lane.most * 2)
        lane.failures = lane.repairs = 0
        self._spool.forget(batch)
        return True

    def _refused(self, lane: Lane, batch: Batch, refusal: Refused) -> bool:
        if refusal.status == _KEY_PROBLEM:
            # The key is wrong, not the message: keep all of it until someone repairs the key.
            return self._later(lane, batch, refusal)
        if refusal.code == "stale_epoch":
            self._on_fenced(batch.placement_id, batch.epoch)
            self._spool.forget(batch)
            return True
        if refusal.code in _REPAIRABLE and lane.repairs < MAX_REPAIRS:
            lane.repairs += 1
            self._described = None
            return self._later(lane, batch, refusal)
        if len(batch.ids) > 1:
            lane.most = len(batch.ids) // 2
            return True
        log.warning("%s: dropped a %s that the server refuses: %s", batch.lane, batch.kind, refusal)
        lane.repairs = 0
        self._spool.forget(batch)
        return True

    def _later(self, lane: Lane, batch: Batch, error: Exception, at_least_s: float = 0.0) -> bool:
        lane.failures += 1
        pause_s = delay_s(lane.failures, at_least_s)
        lane.not_before_s = time.monotonic() + pause_s
        log.log(logging.WARNING if lane.failures == 1 else logging.DEBUG, "%s: %s; again in %.1f s", batch.lane, error, pause_s)
        return False

    def _deliver(self, batch: Batch) -> None:
        path = placement_path(batch.placement_id)
        if batch.lane == SAMPLES_LANE:
            boot_id = batch.kind.split(" ", 1)[1]
            body = f'{{"boot_id":{json.dumps(boot_id)},"samples":[{",".join(batch.bodies)}]}}'
            self._client.call("POST", "/api/v1/nodes/self/samples", body)
        elif batch.lane.startswith(CHECKPOINT_LANE):
            self._deliver_checkpoint(batch)
        elif batch.kind == "log":
            self._client.call("POST", f"{path}/logs", f'{{"epoch":{batch.epoch},"lines":[{",".join(batch.bodies)}]}}')
        else:
            self._client.call("POST", f"{path}/reports", batch.bodies[0])

    def _deliver_checkpoint(self, batch: Batch) -> None:
        step = int(json.loads(batch.bodies[0])["step"])
        folder = checkpoint.step_dir(self._checkpoint_dir(batch.placement_id, batch.epoch), step)
        files = self._describe(folder)
        path = placement_path(batch.placement_id)
        for file in {file.sha256: file for file in files}.values():
            if not self._client.exists(f"{path}/blobs/{file.sha256}"):
                with (folder / file.path).open("rb") as content:
                    self._client.put(f"{path}/blobs/{file.sha256}", content, file.bytes)
        commit = CheckpointCommit(epoch=batch.epoch, step=step, files=files, manifest_sha256=checkpoint.manifest_sha256(files))
        self._client.call("POST", f"{path}/checkpoints", codec.encode(commit))

    def _describe(self, folder: Path) -> tuple[CheckpointFile, ...]:
        # Kept over retries: hashing gigabytes again every half minute would heat the machine for nothing.
        if self._described is None or self._described[0] != folder:
            self._described = folder, checkpoint.describe(folder)
        return self._described[1]
