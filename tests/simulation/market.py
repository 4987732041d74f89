"""A small market in one process: its own clock, grid weather as random walks, arrivals, faults, one seed.

It lives by the product's decisions alone (`route`, `assess`) and does to workloads what they say. What is forecast is wrong by
design: promises must hold all the same.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import exp
from random import Random
from uuid import UUID

from gridbroker.broker.migration import RunningFacts, assess
from gridbroker.broker.policy import DEFAULT_POLICY, Policy, TierPolicy
from gridbroker.broker.routing import Candidate, Route, route
from gridbroker.broker.stretch import MoveTime
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.core.units import hour_floor
from gridbroker.grid.signal import Outlook
from gridbroker.providers.node import Health, NodeFacts, Tier
from tests.unit.broker.facts import CATALOGUE, NOON, node, outlook, workload

STEP = timedelta(minutes=15)
HOUR = timedelta(hours=1)
STEPS_PER_HOUR = 4
ZONES = ("DE", "ES", "FR", "GB")
MEAN_G_PER_KWH = {"DE": 300, "ES": 90, "FR": 60, "GB": 200}
FORECAST_HOURS = 48
POLICY = replace(DEFAULT_POLICY, tier_policy=TierPolicy.HANDICAP)

Gpu = tuple[UUID, int]


@dataclass
class Held:
    """GPUs that a workload has on one node."""

    candidate: Candidate
    since: datetime
    until: datetime | None = None
    """Set on the source of a move."""

    @property
    def gpus(self) -> set[Gpu]:
        return {(self.candidate.node_id, index) for index in self.candidate.gpu_indices}


@dataclass
class Life:
    """A workload from its arrival to its end."""

    spec: WorkloadSpec
    arrived_at: datetime
    share_done: float = 0.0
    spent_micro: int = 0
    moves: int = 0
    held: list[Held] = field(default_factory=list)
    """The newest is where it runs."""
    works_from: datetime = NOON
    """It stands still until then: starting, or moving."""
    ended_as: str | None = None

    @property
    def here(self) -> Held | None:
        return self.held[-1] if self.held else None

    @property
    def budget_left_micro(self) -> int:
        return self.spec.budget_micro - self.spent_micro


class Weather:
    """Each zone's intensity, hour by hour: a random walk in logarithms that is pulled back to the zone's mean, and a forecast of
    it that is wrong by a quarter."""

    def __init__(self, random: Random, hours: int) -> None:
        self.truth = {zone: self._walk(random, hours) for zone in ZONES}
        self.forecast = {zone: [value * exp(random.gauss(0, 0.25)) for value in series] for zone, series in self.truth.items()}

    def _walk(self, random: Random, hours: int) -> list[float]:
        level, series = 0.0, list[float]()
        for _ in range(hours):
            level = 0.93 * level + random.gauss(0, 0.3)
            series.append(exp(level))
        return series

    def intensity(self, zone: str, at: datetime) -> float:
        return MEAN_G_PER_KWH[zone] * self.truth[zone][_hour(at)]

    def outlooks(self, now: datetime) -> dict[str, Outlook]:
        return {zone: self._outlook(zone, now) for zone in ZONES}

    def _outlook(self, zone: str, now: datetime) -> Outlook:
        first = _hour(now)
        later = self.forecast[zone][first + 1 : first + FORECAST_HOURS]
        expected = [MEAN_G_PER_KWH[zone] * value for value in (self.truth[zone][first], *later)]
        return outlook(zone, expected, from_hour=hour_floor(now), observed_at=hour_floor(now))


class Market:
    def __init__(self, seed: int, *, hours: int, node_count: int = 12, policy: Policy = POLICY) -> None:
        self.random = Random(seed)
        self.now = NOON
        self.policy = policy
        self.ticks = hours * STEPS_PER_HOUR
        self.weather = Weather(self.random, hours + FORECAST_HOURS + 1)
        self.nodes = [self._node(number) for number in range(node_count)]
        self.lives: list[Life] = []
        self.log: list[tuple[datetime, str, str]] = []
        self.reasons: Counter[str] = Counter()

    def tick(self) -> None:
        """One step of time: what ran has run; then faults, ends, reviews, arrivals, and everyone who waits asks for a place."""
        for life in self.lives:
            self._work(life)
        self.now += STEP
        self._faults()
        for life in self.active():
            self._finish_or_free(life)
        for life in self.active():
            if life.here and life.works_from <= self.now:
                self._review(life)
        self._arrivals()
        for life in self.active():
            if not life.held:
                self._place(life)

    def active(self) -> list[Life]:
        return [life for life in self.lives if life.ended_as is None]

    def taken(self) -> Counter[Gpu]:
        return Counter(gpu for life in self.lives for held in life.held for gpu in held.gpus)

    def facts(self) -> list[NodeFacts]:
        taken = self.taken()
        return [
            replace(each, free_gpus=tuple(index for index in range(each.gpu_count) if (each.node_id, index) not in taken))
            for each in self.nodes
        ]

    def find(self, node_id: UUID) -> NodeFacts:
        return next(each for each in self.facts() if each.node_id == node_id)

    def _node(self, number: int) -> NodeFacts:
        return node(
            f"node{number}",
            ZONES[number % len(ZONES)],
            tier=self.random.choice(list(Tier)),
            gpu_count=self.random.choice([1, 2, 4]),
            price_micro_per_gpu_hour=self.random.randrange(1_800_000, 3_000_000),
            pue=self.random.uniform(1.05, 1.5),
        )

    def _arrivals(self) -> None:
        if self.random.random() < 0.4:
            spec = self._workload(len(self.lives))
            self.lives.append(Life(spec=spec, arrived_at=self.now))
            self._note("arrived", spec)

    def _workload(self, number: int) -> WorkloadSpec:
        hours = self.random.uniform(1, 20)
        gpu_count = self.random.choice([1, 1, 1, 2])
        return workload(
            name=f"w{number}",
            gpu_count=gpu_count,
            expected_hours=hours,
            budget_micro=round(hours * gpu_count * self.random.uniform(2_200_000, 6_000_000)),
            checkpoint=self.random.random() < 0.8,
            checkpoint_mib=self.random.choice([1, 500, 20_000]),
            checkpoint_interval_s=self.random.choice([0, 300]),
            green_only=self.random.random() < 0.4,
            max_intensity_g_per_kwh=self.random.choice([None, None, 120.0, 250.0]),
            allowed_zones=self.random.choice([(), (), ("ES", "FR")]),
        )

    def _faults(self) -> None:
        """A node falls silent now and then and comes back; what ran there starts again from its last checkpoint, or from zero."""
        for number, each in enumerate(self.nodes):
            chance = 0.3 if each.health is Health.LOST else 0.006
            if self.random.random() < chance:
                health = Health.HEALTHY if each.health is Health.LOST else Health.LOST
                self.nodes[number] = replace(each, health=health)
                for life in self.active():
                    if health is Health.LOST and any(held.candidate.node_id == each.node_id for held in life.held):
                        self._interrupt(life, "lost")

    def _work(self, life: Life) -> None:
        """The step that now begins: progress, unless it stands still, and the bill of every lease."""
        if life.here is None:
            return
        working_from = min(max(life.works_from, self.now), self.now + STEP)
        life.share_done += (self.now + STEP - working_from) / HOUR / life.spec.expected_hours
        life.spent_micro += sum(self._step_price_micro(held) for held in life.held)

    def _step_price_micro(self, held: Held) -> int:
        return held.candidate.price_micro_per_gpu_hour * len(held.candidate.gpu_indices) // STEPS_PER_HOUR

    def _finish_or_free(self, life: Life) -> None:
        life.held = [held for held in life.held if held.until is None or held.until > self.now]
        if life.share_done >= 1:
            self._end(life, "completed")
        elif life.held and life.budget_left_micro < sum(self._step_price_micro(held) for held in life.held):
            self._end(life, "out_of_money")

    def _end(self, life: Life, how: str) -> None:
        life.ended_as, life.held = how, []
        self._note(how, life.spec)

    def _interrupt(self, life: Life, why: str) -> None:
        life.held = []
        if not life.spec.checkpoint:
            life.share_done = 0.0
        self._note(why, life.spec)

    def _route(self, life: Life) -> Route:
        return route(
            life.spec,
            self.facts(),
            self.weather.outlooks(self.now),
            CATALOGUE,
            self.policy,
            self.now,
            remaining_share=1 - life.share_done,
            exclude_nodes={held.candidate.node_id for held in life.held},
            budget_micro=life.budget_left_micro,
        )

    def _place(self, life: Life) -> None:
        chosen = self._route(life).chosen
        if chosen:
            life.held = [Held(chosen, self.now)]
            life.works_from = self.now
            self._note(f"placed on {chosen.node_name}", life.spec)

    def _review(self, life: Life) -> None:
        assert life.here is not None
        running = self._running(life, life.here)
        one = assess(running, self._route(life), self.weather.outlooks(self.now), CATALOGUE, self.policy, self.now)
        self.reasons[one.reason] += 1
        if one.target and one.best:
            self._move(life, one.target, one.best.cost.time)
        elif one.broken:
            self._interrupt(life, "paused")

    def _running(self, life: Life, here: Held) -> RunningFacts:
        return RunningFacts(
            spec=life.spec,
            node=self.find(here.candidate.node_id),
            started_at=here.since,
            price_micro_per_gpu_hour=here.candidate.price_micro_per_gpu_hour,
            share_done=life.share_done,
            remaining_hours=(1 - life.share_done) * life.spec.expected_hours,
            moves=life.moves,
            checkpointable=life.spec.checkpoint,
            checkpoint_bytes=life.spec.checkpoint_mib * 1024 * 1024,
            budget_left_micro=life.budget_left_micro,
        )

    def _move(self, life: Life, target: Candidate, time: MoveTime) -> None:
        """The target is leased before the source is let go; the source does not work while it writes its checkpoint."""
        assert life.here is not None
        life.here.until = self.now + time.source_held_h * HOUR
        life.share_done = max(0.0, life.share_done - time.lost_work_h / life.spec.expected_hours)
        life.works_from = self.now + time.downtime_h * HOUR
        life.held.append(Held(target, self.now))
        life.moves += 1
        self._note(f"moved to {target.node_name}", life.spec)

    def _note(self, what: str, spec: WorkloadSpec) -> None:
        self.log.append((self.now, spec.name, what))


def _hour(at: datetime) -> int:
    return (at - NOON) // HOUR
