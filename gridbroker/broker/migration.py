"""Whether a running workload should move: the whole sum, and what follows from it.

A place that is more than a quarter worse than the best alternative raises the alarm, and the alarm only opens the question. It
moves if the forecast saving over the rest of the run exceeds what the move costs plus a margin of `theta` of the cost of
staying, and if expected emissions do not rise. Because no part of the cost is negative and the margin is not either, a move
never pays back the other way under the same outlook.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gridbroker.broker.compliance import RejectionReason, broken_promises, meets_deadline
from gridbroker.broker.expectation import cost_micro
from gridbroker.broker.horizon import forecast_hours, usable, window
from gridbroker.broker.policy import Policy
from gridbroker.broker.power import power_w, slowdown
from gridbroker.broker.routing import Candidate, Route
from gridbroker.broker.scoring import Place, rate
from gridbroker.broker.stretch import MoveCost, MoveTime, Site, Stretch, move_cost, move_time, stretch
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.grid.signal import Outlook
from gridbroker.providers.gpu import GpuModel
from gridbroker.providers.node import NodeFacts

_HOUR = timedelta(hours=1)


class MoveDecision(StrEnum):
    MOVE = "move"
    STAY = "stay"


class MoveReason(StrEnum):
    PAYS = "pays"
    PROMISE_BROKEN = "promise_broken"
    """The place no longer keeps what the owner asked for (`green_only`); whether it pays does not matter."""
    NOT_CHECKPOINTABLE = "not_checkpointable"
    PLACE_UNKNOWN = "place_unknown"
    """Nothing is known of its own zone or GPU, so there is nothing to compare with."""
    NO_ALTERNATIVE = "no_alternative"
    """No other node may take it, or none in time and within the budget once the move is counted in."""
    TOO_MANY_MOVES = "too_many_moves"
    WITHIN_THRESHOLD = "within_threshold"
    DWELLING = "dwelling"
    ALMOST_DONE = "almost_done"
    WOULD_EMIT_MORE = "would_emit_more"
    DOES_NOT_PAY = "does_not_pay"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningFacts:
    spec: WorkloadSpec
    node: NodeFacts
    """Where it runs."""
    started_at: datetime
    """Of this placement."""
    price_micro_per_gpu_hour: int
    """Of its lease, which may differ from the node's price by now."""
    share_done: float
    remaining_hours: float
    """On this node."""
    moves: int
    """So far."""
    checkpointable: bool
    checkpoint_bytes: int
    budget_left_micro: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Finishing elsewhere: over the same work as staying, which is cut where forecasts end."""

    target: Candidate
    rate: float
    """Score per hour of work on the current node, now."""
    stay: Stretch
    go: Stretch
    """The remaining work on the target, begun after the downtime."""
    cost: MoveCost
    saving: Stretch
    """stay - go, before the cost of moving."""
    margin_score_h: float
    """theta x stay."""
    net_score_h: float
    """saving - cost - margin; positive pays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    decision: MoveDecision
    reason: MoveReason
    assessed_at: datetime
    policy_version: str
    zone: str
    node_name: str
    current_rate: float | None
    """Score per hour, now."""
    degradation: float | None
    """How much worse than the best alternative, as a share of it; negative when better."""
    alarm: bool
    best: Alternative | None
    """The alternative with the largest net saving."""
    moves: int
    max_moves: int
    dwelt_hours: float
    min_dwell_hours: float
    remaining_hours: float
    broken: tuple[RejectionReason, ...]
    """Promises that staying would break."""

    @property
    def target(self) -> Candidate | None:
        """Where to move; None when it stays."""
        return self.best.target if self.best and self.decision is MoveDecision.MOVE else None


def assess(
    running: RunningFacts,
    route_now: Route,
    outlooks: Mapping[str, Outlook],
    catalogue: Mapping[str, GpuModel],
    policy: Policy,
    now: datetime,
) -> Assessment:
    """Judge a move of `running` to the candidates of `route_now`, which was planned for the remaining share at `now`."""
    facts = _Facts(
        running=running,
        outlooks=outlooks,
        catalogue=catalogue,
        time=move_time(running.spec, running.checkpoint_bytes, policy.move),
        policy=policy,
        now=now,
    )
    source = _source(facts)
    best = _best(_alternatives(facts, source, route_now)) if source else None
    current_rate = _rate_now(facts, source) if source else None
    broken = _broken_here(facts, source) if source else ()
    degradation = _degradation(current_rate, best, policy)
    alarm = degradation is not None and degradation > policy.move.alarm_ratio
    decision, reason = _decide(facts, source, best, alarm=alarm, broken=broken)
    return Assessment(
        decision=decision,
        reason=reason,
        assessed_at=now,
        policy_version=policy.version,
        zone=running.node.zone,
        node_name=running.node.name,
        current_rate=current_rate,
        degradation=degradation,
        alarm=alarm,
        best=best,
        moves=running.moves,
        max_moves=policy.move.max_moves,
        dwelt_hours=(now - running.started_at) / _HOUR,
        min_dwell_hours=facts.min_dwell / _HOUR,
        remaining_hours=running.remaining_hours,
        broken=broken,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What every step of an assessment looks at."""

    running: RunningFacts
    outlooks: Mapping[str, Outlook]
    catalogue: Mapping[str, GpuModel]
    time: MoveTime
    policy: Policy
    now: datetime

    @property
    def spec(self) -> WorkloadSpec:
        return self.running.spec

    @property
    def resumed_at(self) -> datetime:
        return self.now + self.time.downtime_h * _HOUR

    @property
    def min_dwell(self) -> timedelta:
        return max(self.policy.move.min_dwell, self.policy.move.dwell_per_downtime * self.time.downtime_h * _HOUR)


def _decide(
    facts: _Facts, source: Site | None, best: Alternative | None, *, alarm: bool, broken: tuple[RejectionReason, ...]
) -> tuple[MoveDecision, MoveReason]:
    if source is None:
        return MoveDecision.STAY, MoveReason.PLACE_UNKNOWN
    if best is None:
        return MoveDecision.STAY, MoveReason.NO_ALTERNATIVE
    ruled_out = _ruled_out(facts.running, facts.policy)
    if broken and not ruled_out:
        return MoveDecision.MOVE, MoveReason.PROMISE_BROKEN
    against = ruled_out or _too_little(facts, best, alarm=alarm)
    return (MoveDecision.STAY, against) if against else (MoveDecision.MOVE, MoveReason.PAYS)


def _ruled_out(running: RunningFacts, policy: Policy) -> MoveReason | None:
    if not running.checkpointable:
        return MoveReason.NOT_CHECKPOINTABLE
    if running.moves >= policy.move.max_moves:
        return MoveReason.TOO_MANY_MOVES
    return None


def _too_little(facts: _Facts, best: Alternative, *, alarm: bool) -> MoveReason | None:
    """Why the move is not worth it, if so."""
    running = facts.running
    if not alarm:
        return MoveReason.WITHIN_THRESHOLD
    if facts.now - running.started_at < facts.min_dwell:
        return MoveReason.DWELLING
    if running.remaining_hours < 2 * facts.time.downtime_h:
        return MoveReason.ALMOST_DONE
    if best.go.emissions_mg + best.cost.total.emissions_mg > best.stay.emissions_mg:
        return MoveReason.WOULD_EMIT_MORE
    return MoveReason.DOES_NOT_PAY if best.net_score_h <= 0 else None


def _degradation(current_rate: float | None, best: Alternative | None, policy: Policy) -> float | None:
    if current_rate is None or best is None:
        return None
    return (current_rate - best.rate) / max(best.rate, policy.move.alarm_floor)


def _best(alternatives: Iterable[Alternative]) -> Alternative | None:
    return min(alternatives, key=lambda one: (-one.net_score_h, one.target.node_id), default=None)


def _alternatives(facts: _Facts, source: Site, route_now: Route) -> Iterable[Alternative]:
    for candidate in route_now.candidates:
        target = _target(facts, candidate)
        if target and candidate.node_id != facts.running.node.node_id and _still_fits(facts, source, target):
            yield _alternative(facts, source, target, candidate)


def _alternative(facts: _Facts, source: Site, target: Site, candidate: Candidate) -> Alternative:
    spec, policy = facts.spec, facts.policy
    slower = _slower(source, target)
    stay_h = _compared_hours(facts, source, target)
    stay = stretch(spec, source, facts.now, stay_h, policy)
    go = stretch(spec, target, facts.resumed_at, stay_h * slower, policy)
    cost = _cost(facts, source, target, stay_h * slower)
    saving = stay.minus(go)
    margin_score_h = policy.move.theta * stay.score_h
    return Alternative(
        target=candidate,
        rate=_rate_now(facts, target) * slower,
        stay=stay,
        go=go,
        cost=cost,
        saving=saving,
        margin_score_h=margin_score_h,
        net_score_h=saving.score_h - cost.total.score_h - margin_score_h,
    )


def _compared_hours(facts: _Facts, source: Site, target: Site) -> float:
    """Hours on the source whose work is compared: the rest of the run, as far as the horizon and both forecasts reach on both."""
    reach_h = min(
        facts.policy.horizon / _HOUR, forecast_hours(source.outlook, facts.now), forecast_hours(target.outlook, facts.now)
    )
    return min(facts.running.remaining_hours, reach_h / max(1.0, _slower(source, target)))


def _still_fits(facts: _Facts, source: Site, target: Site) -> bool:
    """Whether promises, deadline and budget hold once the move's own time and money are counted in."""
    spec, running, policy = facts.spec, facts.running, facts.policy
    work_h = running.remaining_hours * _slower(source, target)
    hours = facts.time.downtime_h + work_h + facts.time.lost_work_h * _slower(source, target)
    cost = _cost(facts, source, target, work_h)
    price_micro = cost_micro(target.place.price_micro_per_gpu_hour, spec.gpu_count, work_h) + cost.total.price_micro
    return (
        not broken_promises(spec, window(target.outlook, facts.now, hours), policy.green)
        and meets_deadline(spec, hours, policy, facts.now)
        and price_micro <= running.budget_left_micro
    )


def _cost(facts: _Facts, source: Site, target: Site, work_h: float) -> MoveCost:
    size = facts.running.checkpoint_bytes
    return move_cost(facts.spec, source, target, work_h=work_h, checkpoint_bytes=size, policy=facts.policy, now=facts.now)


def _broken_here(facts: _Facts, source: Site) -> tuple[RejectionReason, ...]:
    """Only `green_only` binds each hour; the cap on the mean was kept by the run as planned, whose cleaner part may be over."""
    rest = window(source.outlook, facts.now, facts.running.remaining_hours)
    broken = broken_promises(facts.spec, rest, facts.policy.green)
    return tuple(reason for reason in broken if reason is RejectionReason.NOT_GREEN)


def _source(facts: _Facts) -> Site | None:
    node = facts.running.node
    return _site(facts, node.zone, node.gpu_model, node.pue, facts.running.price_micro_per_gpu_hour)


def _target(facts: _Facts, candidate: Candidate) -> Site | None:
    return _site(facts, candidate.zone, candidate.gpu_model, candidate.pue, candidate.price_micro_per_gpu_hour)


def _site(facts: _Facts, zone: str, gpu_model: str, pue: float, price_micro_per_gpu_hour: int) -> Site | None:
    model, outlook = facts.catalogue.get(gpu_model), facts.outlooks.get(zone)
    if model is None or outlook is None or not usable(outlook, facts.now):
        return None
    slower = slowdown(facts.spec, model, facts.policy)
    if slower is None:
        return None
    place = Place(power_w=power_w(facts.spec, model), pue=pue, price_micro_per_gpu_hour=price_micro_per_gpu_hour, slowdown=slower)
    return Site(place=place, outlook=outlook)


def _slower(source: Site, target: Site) -> float:
    """Hours on the target per hour of work on the source."""
    return target.place.slowdown / source.place.slowdown


def _rate_now(facts: _Facts, site: Site) -> float:
    return rate(facts.spec, site.place, window(site.outlook, facts.now, 0.0).intensity_g_per_kwh, facts.policy)
