"""Who may run a workload: gates with names. A node that fails is told every reason, not the first one."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

from gridbroker.broker.expectation import Expectation
from gridbroker.broker.horizon import Window
from gridbroker.broker.policy import GreenRules, Policy
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.core.units import MILLISECONDS_PER_HOUR, duration_ms
from gridbroker.grid.signal import Outlook
from gridbroker.providers.gpu import GpuModel
from gridbroker.providers.node import Health, NodeFacts, Tier


class RejectionReason(StrEnum):
    EXCLUDED = "excluded"
    """The caller ruled it out: where the workload runs now, or where it just failed."""
    NODE_NOT_HEALTHY = "node_not_healthy"
    """Registered, never heard of."""
    NODE_LOST = "node_lost"
    DRAINING = "draining"
    BACKEND = "backend"
    GPU_MODEL = "gpu_model"
    """Not the model asked for, or one of which too little is known to plan a run."""
    VRAM = "vram"
    GPU_COUNT = "gpu_count"
    """The node has fewer GPUs than asked for, even when idle."""
    GPUS_BUSY = "gpus_busy"
    ZONE_NOT_ALLOWED = "zone_not_allowed"
    ZONE_UNKNOWN = "zone_unknown"
    """Nothing is known of its grid for the current hour."""
    TIER_GRID_NOT_RENEWABLE = "tier_grid_not_renewable"
    """A gamer's node whose grid is not more than half renewable, or of unknown share."""
    NOT_GREEN = "not_green"
    """`green_only`, and at least one hour of the planned run is expected above the green threshold."""
    TOO_DIRTY = "too_dirty"
    """The planned mean intensity is above the owner's cap."""
    OVER_BUDGET = "over_budget"
    TOO_LATE = "too_late"
    """The planned run would end after the deadline."""


_OF_HEALTH = {
    Health.PENDING: RejectionReason.NODE_NOT_HEALTHY,
    Health.LOST: RejectionReason.NODE_LOST,
    Health.DRAINING: RejectionReason.DRAINING,
}


def check(
    spec: WorkloadSpec,
    node: NodeFacts,
    *,
    model: GpuModel | None,
    outlook: Outlook | None,
    run: Expectation | None,
    policy: Policy,
    now: datetime,
    budget_micro: int,
) -> tuple[RejectionReason, ...]:
    """Every reason why `node` may not take the workload now, in the order of the gates; empty when it may.

    `outlook` is None when nothing usable is known of the zone, `run` when no run can be planned there; the gates that need them
    are then closed by ZONE_UNKNOWN or GPU_MODEL.
    """
    return (
        *_of_node(spec, node, model, policy),
        *_of_zone(spec, node, outlook, policy.green),
        *_of_run(spec, run, policy, now, budget_micro),
    )


def broken_promises(spec: WorkloadSpec, window: Window, rules: GreenRules) -> tuple[RejectionReason, ...]:
    """What the owner was promised about the grid and `window` does not keep."""
    return tuple(_of_grid(spec, window.intensity_g_per_kwh, window.worst_intensity_g_per_kwh, rules))


def meets_deadline(spec: WorkloadSpec, hours: float, policy: Policy, now: datetime) -> bool:
    if spec.deadline_at is None:
        return True
    left_ms = duration_ms(now + policy.start_allowance, spec.deadline_at)
    return hours * MILLISECONDS_PER_HOUR <= left_ms


def _of_node(spec: WorkloadSpec, node: NodeFacts, model: GpuModel | None, policy: Policy) -> Iterator[RejectionReason]:
    if node.health in _OF_HEALTH:
        yield _OF_HEALTH[node.health]
    if policy.backend not in node.backends:
        yield RejectionReason.BACKEND
    if model is None or spec.gpu_model not in {None, node.gpu_model} or (spec.gpu_model is None and not model.bf16_dense_tflops):
        yield RejectionReason.GPU_MODEL
    if model is not None and model.vram_mib < spec.vram_mib:
        yield RejectionReason.VRAM
    if node.gpu_count < spec.gpu_count:
        yield RejectionReason.GPU_COUNT
    elif len(node.free_gpus) < spec.gpu_count:
        yield RejectionReason.GPUS_BUSY


def _of_zone(spec: WorkloadSpec, node: NodeFacts, outlook: Outlook | None, rules: GreenRules) -> Iterator[RejectionReason]:
    if spec.allowed_zones and node.zone not in spec.allowed_zones:
        yield RejectionReason.ZONE_NOT_ALLOWED
    if outlook is None:
        yield RejectionReason.ZONE_UNKNOWN
    if node.tier is Tier.GAMER and not _mostly_renewable(outlook, rules):
        yield RejectionReason.TIER_GRID_NOT_RENEWABLE


def _of_run(
    spec: WorkloadSpec, run: Expectation | None, policy: Policy, now: datetime, budget_micro: int
) -> Iterator[RejectionReason]:
    if run is None:
        return
    yield from _of_grid(spec, run.mean_intensity_g_per_kwh, run.worst_intensity_g_per_kwh, policy.green)
    if run.cost_micro.expected > budget_micro:
        yield RejectionReason.OVER_BUDGET
    if not meets_deadline(spec, run.hours.expected, policy, now):
        yield RejectionReason.TOO_LATE


def _of_grid(spec: WorkloadSpec, mean_g_per_kwh: float, worst_g_per_kwh: float, rules: GreenRules) -> Iterator[RejectionReason]:
    if spec.green_only and worst_g_per_kwh > rules.max_intensity_g_per_kwh:
        yield RejectionReason.NOT_GREEN
    if spec.max_intensity_g_per_kwh is not None and mean_g_per_kwh > spec.max_intensity_g_per_kwh:
        yield RejectionReason.TOO_DIRTY


def _mostly_renewable(outlook: Outlook | None, rules: GreenRules) -> bool:
    share = None if outlook is None else outlook.renewable_share
    return share is not None and share > rules.gamer_min_renewable_share
