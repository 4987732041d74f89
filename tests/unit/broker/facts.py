"""Small facts for tests of decisions: nodes, grids and workloads with sensible defaults."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gridbroker.broker.migration import RunningFacts
from gridbroker.broker.policy import DEFAULT_POLICY, Policy
from gridbroker.broker.routing import Route, route
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.core.ids import derive
from gridbroker.grid.signal import Outlook, Quality
from gridbroker.providers.gpu import GpuModel, IdleQuality
from gridbroker.providers.node import Health, NodeFacts, Tier

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
PLENTY_MICRO = 10**12


def gpu(key: str, vram_gb: int, tdp_w: float, idle_w: float, tflops: float) -> GpuModel:
    return GpuModel(
        key=key,
        architecture="test",
        vram_mib=vram_gb * 1024,
        tdp_w=tdp_w,
        idle_w=idle_w,
        idle_quality=IdleQuality.UNVERIFIED,
        bf16_dense_tflops=tflops,
        mig=False,
        source="test",
    )


H100 = gpu("H100", 80, 700, 70, 989)
RTX = gpu("RTX", 24, 450, 20, 165)
OLD = gpu("OLD", 16, 250, 26, 0)
"""No bf16 rate is known."""
CATALOGUE = {model.key: model for model in (H100, RTX, OLD)}


def node(name: str, zone: str, **changes: Any) -> NodeFacts:
    gpu_count = changes.get("gpu_count", 2)
    facts = NodeFacts(
        node_id=derive("node", name),
        org_id=derive("organisation", name),
        name=name,
        zone=zone,
        tier=Tier.DATACENTER,
        gpu_model="H100",
        gpu_count=gpu_count,
        free_gpus=tuple(range(gpu_count)),
        price_micro_per_gpu_hour=2_400_000,
        pue=1.2,
        health=Health.HEALTHY,
        energy_kind="measured",
        backends=("process",),
        version=1,
    )
    return replace(facts, **changes)


def outlook(zone: str, intensities: float | Sequence[float], **changes: Any) -> Outlook:
    """48 hours of one intensity, or the given hours."""
    series = (float(intensities),) * 48 if isinstance(intensities, int | float) else tuple(map(float, intensities))
    facts = Outlook(
        zone=zone,
        from_hour=NOON,
        intensity_g_per_kwh=series,
        price_eur_per_mwh=(80.0,) * len(series),
        renewable_share=0.6,
        observed_at=NOON,
        source="test",
        quality=Quality.MEASURED,
        method="persistence",
        error_ratio=0.1,
    )
    return replace(facts, **changes)


def outlooks(*each: Outlook) -> dict[str, Outlook]:
    return {one.zone: one for one in each}


def workload(**changes: Any) -> WorkloadSpec:
    spec = WorkloadSpec(name="train", command=("train",), gpu_model="H100", budget_micro=PLENTY_MICRO, checkpoint=True)
    return replace(spec, **changes)


def running_on(where: NodeFacts, spec: WorkloadSpec, **changes: Any) -> RunningFacts:
    """On `where` since six hours before noon, all of it still to do."""
    facts = RunningFacts(
        spec=spec,
        node=where,
        started_at=NOON.replace(hour=6),
        price_micro_per_gpu_hour=where.price_micro_per_gpu_hour,
        share_done=0.0,
        remaining_hours=spec.expected_hours,
        moves=0,
        checkpointable=spec.checkpoint,
        checkpoint_bytes=spec.checkpoint_mib * 1024 * 1024,
        budget_left_micro=spec.budget_micro,
    )
    return replace(facts, **changes)


def routed(
    spec: WorkloadSpec, nodes: Sequence[NodeFacts], grid: dict[str, Outlook], policy: Policy = DEFAULT_POLICY, **options: Any
) -> Route:
    return route(spec, nodes, grid, CATALOGUE, policy, options.pop("now", NOON), **options)
