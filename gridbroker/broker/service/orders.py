"""What a placement's node is told, built from the workload's specification."""

from gridbroker.broker.rows import CheckpointRow, PlacementRow, WorkloadRow
from gridbroker.node_agent.protocol import Action, Order, ResumePoint
from gridbroker.providers.backends.base import NodeOrder


def order_of(workload: WorkloadRow, placement: PlacementRow, checkpoint: CheckpointRow | None, action: Action) -> NodeOrder:
    """The desired state of a placement. Its number is the lease's epoch: a later placement fences off every earlier one."""
    spec = workload.spec
    order = Order(
        placement_id=str(placement.placement_id),
        epoch=placement.number,
        action=action,
        workload_id=str(workload.workload_id),
        attempt=placement.number,
        command=spec.command,
        environment=dict(spec.environment),
        gpu_indices=placement.gpu_indices,
        grace_s=spec.grace_s,
        checkpoint_interval_s=spec.checkpoint_interval_s,
        checkpoint_signal=spec.checkpoint_signal,
        memory_limit_mib=spec.memory_limit_mib,
        load_hint=spec.load,
        resume=_resume_point(checkpoint),
    )
    return NodeOrder(node_id=placement.node_id, org_id=placement.provider_org_id, order=order)


def _resume_point(checkpoint: CheckpointRow | None) -> ResumePoint | None:
    if checkpoint is None:
        return None
    return ResumePoint(checkpoint_id=str(checkpoint.checkpoint_id), step=checkpoint.step, files=checkpoint.files)
