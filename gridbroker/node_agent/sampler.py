"""The node's energy meter: one counter per GPU that only grows, a sample of each at every interval and at every placement's edges.

The counter continues over restarts of the agent within one boot of the machine, so the gap is not lost: a hardware counter
covers it, and the model fills it with the load of what was adopted. Otherwise a new boot id begins at zero.
"""

import threading
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from gridbroker.node_agent.clock import GridClock, parse_rfc3339, rfc3339
from gridbroker.node_agent.energy import NJ_PER_MJ, EnergySource, Reading
from gridbroker.node_agent.protocol import EnergyKind, GpuStatus, Sample
from gridbroker.node_agent.spool import Spool

_OS_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One GPU's meter reading."""

    gpu_index: int
    at: datetime
    """Grid time; never goes back."""
    seq: int = 0
    energy_mj: int = 0
    remainder_nj: int = 0
    """Below one millijoule, carried so that rounding never adds up."""
    raw_mj: int | None = None


def advance(counter: Counter, reading: Reading, at: datetime) -> Counter:
    """The counter after one more reading."""
    whole_mj, remainder_nj = divmod(counter.remainder_nj + reading.energy_nj, NJ_PER_MJ)
    return replace(
        counter,
        at=at,
        seq=counter.seq + 1,
        energy_mj=counter.energy_mj + whole_mj,
        remainder_nj=remainder_nj,
        raw_mj=counter.raw_mj if reading.raw_mj is None else reading.raw_mj,
    )


class Meter:
    """Thread-safe. Its lock makes a placement's edge and its sample one instant."""

    def __init__(self, source: EnergySource, spool: Spool, clock: GridClock, gpu_count: int) -> None:
        self._source = source
        self._spool = spool
        self._clock = clock
        self._lock = threading.Lock()
        self._loads: dict[int, float] = {}
        self._statuses: dict[int, GpuStatus] = {}
        self._boot_id, self._counters = self._restore(gpu_count)

    def adopt(self, gpus: Iterable[int], load: float) -> None:
        """A program that never stopped running holds these GPUs: the time since their last sample was under its load."""
        with self._lock:
            self._loads |= dict.fromkeys(gpus, load)

    def hold(self, gpus: Sequence[int], load: float) -> datetime:
        """A placement starts on these GPUs, at the answered grid time."""
        with self._lock:
            at = self._take(gpus, self._clock.now(), edge=True)
            self._loads |= dict.fromkeys(gpus, load)
            return at

    def release(self, gpus: Sequence[int], ended_at: datetime | None = None) -> datetime:
        """It ended, at the answered grid time; `ended_at` counts where energy is modelled, since a counter cannot be read back."""
        with self._lock:
            now = self._clock.now()
            if ended_at is not None and self._source.kind is EnergyKind.MODELLED:
                now = min(now, ended_at)
            at = self._take(gpus, now, edge=True)
            for gpu in gpus:
                self._loads.pop(gpu, None)
            return at

    def last_seen(self, gpus: Sequence[int]) -> datetime | None:
        """Grid time of these GPUs' last sample."""
        with self._lock:
            return max((self._counters[gpu].at for gpu in gpus if gpu in self._counters), default=None)

    def sample(self) -> None:
        with self._lock:
            self._take(list(self._counters), self._clock.now(), edge=False)

    def statuses(self) -> tuple[GpuStatus, ...]:
        with self._lock:
            return tuple(self._statuses[gpu] for gpu in sorted(self._statuses))

    def run(self, interval_s: float, stop: threading.Event) -> None:
        """Samples until told to stop, then once more."""
        while not stop.wait(interval_s):
            self.sample()
        self.sample()

    def _take(self, gpus: Sequence[int], at: datetime, *, edge: bool) -> datetime:
        known = [self._counters[gpu] for gpu in gpus if gpu in self._counters]
        at = max([at, *(counter.at for counter in known)])
        readings = [(counter, self._read(counter, at)) for counter in known]
        taken = [(advance(counter, reading, at), reading) for counter, reading in readings if reading is not None]
        with self._spool.store.tx():
            self._spool.add_samples(self._boot_id, [_to_sample(*pair) for pair in taken], edge=edge)
            for counter, _ in taken:
                self._save(counter)
        for counter, reading in taken:
            self._counters[counter.gpu_index] = counter
            self._statuses[counter.gpu_index] = _to_status(counter, reading)
        return at

    def _read(self, counter: Counter, at: datetime) -> Reading | None:
        return self._source.read(
            counter.gpu_index,
            elapsed_us=(at - counter.at) // _MICROSECOND,
            load=self._loads.get(counter.gpu_index),
            previous_raw_mj=counter.raw_mj,
        )

    def _restore(self, gpu_count: int) -> tuple[str, dict[int, Counter]]:
        store, now = self._spool.store, self._clock.now()
        saved = {
            row["gpu_index"]: Counter(
                gpu_index=row["gpu_index"],
                at=parse_rfc3339(row["at"]),
                seq=row["seq"],
                energy_mj=row["energy_mj"],
                remainder_nj=row["remainder_nj"],
                raw_mj=row["raw_mj"],
            )
            for row in store.rows("select * from gpus")
        }
        # What must be as it was for the counters to go on: the machine's boot, the source, the GPUs, and time itself.
        setting = f"{_os_boot_id()} {self._source.kind} {gpu_count} {self._clock.grid_epoch} {self._clock.factor}"
        boot_id = store.fact("boot_id")
        same = store.fact("boot_setting") == setting and len(saved) == gpu_count
        if boot_id is not None and same and all(counter.at <= now for counter in saved.values()):
            return boot_id, saved
        boot_id = uuid.uuid4().hex
        counters = {gpu: Counter(gpu_index=gpu, at=now) for gpu in range(gpu_count)}
        with store.tx() as db:
            store.set_fact("boot_id", boot_id)
            store.set_fact("boot_setting", setting)
            db.execute("delete from gpus")
        return boot_id, counters

    def _save(self, counter: Counter) -> None:
        with self._spool.store.tx() as db:
            db.execute(
                "insert or replace into gpus (gpu_index, seq, at, energy_mj, remainder_nj, raw_mj) values (?, ?, ?, ?, ?, ?)",
                (counter.gpu_index, counter.seq, rfc3339(counter.at), counter.energy_mj, counter.remainder_nj, counter.raw_mj),
            )


def _to_sample(counter: Counter, reading: Reading) -> Sample:
    return Sample(
        seq=counter.seq,
        gpu_index=counter.gpu_index,
        at=rfc3339(counter.at),
        energy_mj=counter.energy_mj,
        power_w=reading.power_w,
        utilisation=reading.utilisation,
        kind=reading.kind,
    )


def _to_status(counter: Counter, reading: Reading) -> GpuStatus:
    return GpuStatus(
        index=counter.gpu_index,
        utilisation=reading.utilisation,
        power_w=reading.power_w,
        temperature_c=reading.temperature_c,
        memory_used_mib=reading.memory_used_mib,
    )


def _os_boot_id() -> str:
    try:
        return _OS_BOOT_ID.read_text().strip()
    except OSError:
        # Without it each start of the agent counts as a boot.
        return uuid.uuid4().hex
