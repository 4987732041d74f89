"""Where a workload goes: every node checked, scored and ranked over one snapshot of facts.

Pure and deterministic: the same facts give the same route whatever their order, so a stored decision can be rebuilt from its
inputs and compared by `==`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gridbroker.broker.compliance import RejectionReason, check
from gridbroker.broker.expectation import Expectation, expect
from gridbroker.broker.horizon import Window, usable, window
from gridbroker.broker.packing import pick
from gridbroker.broker.policy import Policy, TierPolicy
from gridbroker.broker.power import MIN_SHARE, power_w, slowdown
from gridbroker.broker.scoring import Place, Score, score
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.grid.signal import Outlook
from gridbroker.providers.gpu import GpuModel
from gridbroker.providers.node import NodeFacts, Tier

_LAST = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node that may take the workload, with what the run would take there."""

    node_id: UUID
    provider_org_id: UUID
    node_name: str
    node_version: int
    zone: str
    tier: Tier
    gpu_model: str
    gpu_indices: tuple[int, ...]
    price_micro_per_gpu_hour: int
    pue: float
    energy_kind: str
    score: Score
    run: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedNode:
    node_id: UUID
    node_name: str
    zone: str
    tier: Tier
    reasons: tuple[RejectionReason, ...]
    score: Score | None
    """What it would have scored; None when no run could be planned there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeasibleNode:
    """Input of the baselines: a node that could have taken the workload."""

    node_id: UUID
    zone: str
    pue: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingConstraint:
    """The one reason that stands between the workload and the best node it cannot have.

    Of all nodes that fail by exactly one reason and would rank before the chosen one, the reason of the best. Lifting any other
    single reason would lead to no better place.
    """

    reason: RejectionReason
    node_id: UUID
    node_name: str
    zone: str
    score_gain: float | None
    """By how much the score would fall; None when nothing was chosen or the node could not be scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    planned_at: datetime
    policy_version: str
    remaining_share: float
    candidates: tuple[Candidate, ...]
    """Best first; the first one is chosen. At most `policy.max_candidates`."""
    feasible_nodes: tuple[FeasibleNode, ...]
    """All of them, by node id."""
    rejected: tuple[RejectedNode, ...]
    """Those with the fewest reasons, then the best would-be score. At most `policy.max_candidates`."""
    rejected_counts: dict[str, int]
    """Nodes by reason, over all nodes; one with two reasons counts in both."""
    nodes_seen: int
    binding: BindingConstraint | None

    @property
    def chosen(self) -> Candidate | None:
        return self.candidates[0] if self.candidates else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Assessed:
    node: NodeFacts
    reasons: tuple[RejectionReason, ...]
    score: Score | None
    run: Expectation | None


def route(
    spec: WorkloadSpec,
    nodes: Iterable[NodeFacts],
    outlooks: Mapping[str, Outlook],
    catalogue: Mapping[str, GpuModel],
    policy: Policy,
    now: datetime,
    *,
    remaining_share: float = 1.0,
    exclude_nodes: Collection[UUID] = frozenset(),
    budget_micro: int | None = None,
) -> Route:
    """Check, score and rank all `nodes` for the part of the workload that remains.

    `outlooks` is by zone, `catalogue` by GPU key. `budget_micro` is what is left to spend, by default the whole budget.
    """
    facts = _Facts(
        spec=spec,
        windows=_Windows(outlooks, now),
        catalogue=catalogue,
        policy=policy,
        share=max(remaining_share, MIN_SHARE),
        budget_micro=spec.budget_micro if budget_micro is None else budget_micro,
        exclude_nodes=exclude_nodes,
    )
    assessed = [_assess(facts, node) for node in nodes]
    feasible = sorted((one for one in assessed if not one.reasons), key=lambda one: _sort_key(one, policy))
    rejected = [one for one in assessed if one.reasons]
    return Route(
        planned_at=now,
        policy_version=policy.version,
        remaining_share=facts.share,
        candidates=tuple(_candidate(spec, one) for one in feasible[: policy.max_candidates]),
        feasible_nodes=_feasible_nodes(feasible),
        rejected=_most_telling(rejected, policy),
        rejected_counts=_counts(rejected),
        nodes_seen=len(assessed),
        binding=_binding(feasible[0] if feasible else None, rejected, policy),
    )


class _Windows:
    """Windows that begin now, computed once per zone and run time."""

    def __init__(self, outlooks: Mapping[str, Outlook], now: datetime) -> None:
        self.now = now
        self._outlooks = {zone: outlook for zone, outlook in outlooks.items() if usable(outlook, now)}
        self._known: dict[tuple[str, float], Window] = {}

    def outlook(self, zone: str) -> Outlook | None:
        return self._outlooks.get(zone)

    def get(self, zone: str, hours: float) -> Window:
        key = zone, hours
        if key not in self._known:
            self._known[key] = window(self._outlooks[zone], self.now, hours)
        return self._known[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What every node is looked at with."""

    spec: WorkloadSpec
    windows: _Windows
    catalogue: Mapping[str, GpuModel]
    policy: Policy
    share: float
    budget_micro: int
    exclude_nodes: Collection[UUID]


def _assess(facts: _Facts, node: NodeFacts) -> _Assessed:
    spec, policy = facts.spec, facts.policy
    model, outlook = facts.catalogue.get(node.gpu_model), facts.windows.outlook(node.zone)
    run, scored = _plan(facts, node, model, outlook) if model and outlook else (None, None)
    reasons = check(
        spec, node, model=model, outlook=outlook, run=run, policy=policy, now=facts.windows.now, budget_micro=facts.budget_micro
    )
    if node.node_id in facts.exclude_nodes:
        reasons = (RejectionReason.EXCLUDED, *reasons)
    return _Assessed(node=node, reasons=reasons, score=scored, run=run)


def _plan(facts: _Facts, node: NodeFacts, model: GpuModel, outlook: Outlook) -> tuple[Expectation, Score] | tuple[None, None]:
    spec, policy = facts.spec, facts.policy
    slower = slowdown(spec, model, policy)
    if slower is None:
        return None, None
    over = facts.windows.get(node.zone, spec.expected_hours * facts.share * slower)
    run = expect(spec, node, model, outlook=outlook, window=over, policy=policy, budget_micro=facts.budget_micro)
    place = Place(
        power_w=power_w(spec, model), pue=node.pue, price_micro_per_gpu_hour=node.price_micro_per_gpu_hour, slowdown=slower
    )
    scored = score(
        spec,
        place,
        intensity_g_per_kwh=over.intensity_g_per_kwh,
        busy_share=node.busy_share,
        handicap=policy.handicap(node.tier),
        policy=policy,
    )
    return run, scored


def _sort_key(one: _Assessed, policy: Policy) -> tuple[int, float, UUID]:
    """Tier first when tiers are strict, then score, then node id so that ties do not depend on order."""
    tier = int(one.node.tier) if policy.tier_policy is TierPolicy.STRICT else 0
    return tier, one.score.total if one.score else _LAST, one.node.node_id


def _candidate(spec: WorkloadSpec, one: _Assessed) -> Candidate:
    gpu_indices = pick(one.node.free_gpus, spec.gpu_count)
    assert gpu_indices is not None and one.score is not None and one.run is not None, "a compliant node has GPUs and a planned run"
    return Candidate(
        node_id=one.node.node_id,
        provider_org_id=one.node.org_id,
        node_name=one.node.name,
        node_version=one.node.version,
        zone=one.node.zone,
        tier=one.node.tier,
        gpu_model=one.node.gpu_model,
        gpu_indices=gpu_indices,
        price_micro_per_gpu_hour=one.node.price_micro_per_gpu_hour,
        pue=one.node.pue,
        energy_kind=one.node.energy_kind,
        score=one.score,
        run=one.run,
    )


def _feasible_nodes(feasible: Iterable[_Assessed]) -> tuple[FeasibleNode, ...]:
    nodes = [FeasibleNode(node_id=one.node.node_id, zone=one.node.zone, pue=one.node.pue) for one in feasible]
    return tuple(sorted(nodes, key=lambda node: node.node_id))


def _most_telling(rejected: Iterable[_Assessed], policy: Policy) -> tuple[RejectedNode, ...]:
    ordered = sorted(rejected, key=lambda one: (len(one.reasons), *_sort_key(one, policy)))
    return tuple(
        RejectedNode(
            node_id=one.node.node_id,
            node_name=one.node.name,
            zone=one.node.zone,
            tier=one.node.tier,
            reasons=one.reasons,
            score=one.score,
        )
        for one in ordered[: policy.max_candidates]
    )


def _counts(rejected: Iterable[_Assessed]) -> dict[str, int]:
    """By reason, most frequent first."""
    counts = Counter(str(reason) for one in rejected for reason in one.reasons)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _binding(best: _Assessed | None, rejected: Iterable[_Assessed], policy: Policy) -> BindingConstraint | None:
    by_one_reason = [one for one in rejected if len(one.reasons) == 1 and one.reasons != (RejectionReason.EXCLUDED,)]
    if best is not None:
        by_one_reason = [one for one in by_one_reason if _sort_key(one, policy) < _sort_key(best, policy)]
    if not by_one_reason:
        return None
    nearest = min(by_one_reason, key=lambda one: _sort_key(one, policy))
    gain = best.score.total - nearest.score.total if best and best.score and nearest.score else None
    return BindingConstraint(
        reason=nearest.reasons[0],
        node_id=nearest.node.node_id,
        node_name=nearest.node.name,
        zone=nearest.node.zone,
        score_gain=None if gain is None else round(gain, 6),
    )
