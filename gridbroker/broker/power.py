"""How long a workload takes on a GPU model, and what power it draws there."""

from gridbroker.broker.policy import Policy
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.providers.gpu import GpuModel

MIN_SHARE = 0.001
"""A run that reports itself as done still takes this share of its time, until it ends."""


def power_w(spec: WorkloadSpec, model: GpuModel) -> float:
    """Expected power of all GPUs of the workload: idle + load x (TDP - idle) each."""
    return spec.gpu_count * _drawn_w(model.idle_w, model.tdp_w, spec.load)


def reference_power_w(spec: WorkloadSpec, policy: Policy) -> float:
    """The same on as many reference GPUs."""
    return spec.gpu_count * _drawn_w(policy.reference.idle_w, policy.reference.tdp_w, spec.load)


def slowdown(spec: WorkloadSpec, model: GpuModel, policy: Policy) -> float | None:
    """Run time on `model` per hour of `expected_hours`, or None when it cannot be told.

    A workload that asked for a model was estimated on it: 1. One that takes any GPU was estimated on the reference GPU, and its
    time is scaled by the ratio of dense bf16 throughput. That is exact only for programs bound by matrix multiplication; a GPU
    without a bf16 figure is not offered to them.
    """
    if spec.gpu_model is not None:
        return 1.0
    if not model.bf16_dense_tflops:
        return None
    return policy.reference.bf16_dense_tflops / model.bf16_dense_tflops


def _drawn_w(idle_w: float, tdp_w: float, load: float) -> float:
    return idle_w + load * (tdp_w - idle_w)
