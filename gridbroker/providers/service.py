"""Nodes from registration to loss: tokens, registrations, heartbeats, draining, leases, and the views that routing ranks."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from gridbroker.core.clock import Clock
from gridbroker.core.db import Tx
from gridbroker.core.errors import Conflict, NotFound
from gridbroker.core.secret import hash_secret, new_secret
from gridbroker.identity import service as identity
from gridbroker.identity.role import Role
from gridbroker.node_agent.protocol import Heartbeat, HeartbeatAck, NodeCredentials, NodeRegistration
from gridbroker.providers import gpu, health, repository
from gridbroker.providers.health import Check, CheckKind, NodeCheck, NodeStatus
from gridbroker.providers.lease import MAX_GPUS_PER_NODE, Lease, LeaseConflict
from gridbroker.providers.node import Health, NodeFacts, Tier
from gridbroker.providers.registration import NodeOffer, read_registration, tier_of
from gridbroker.providers.token import DEFAULT_TTL_S, NodeToken, check_token


class NodeBusy(Conflict):
    code, title = "node_busy", "The node still has leases"


async def mint_token(tx: Tx, clock: Clock, org_id: UUID, *, ttl_s: int = DEFAULT_TTL_S) -> tuple[str, datetime]:
    """A secret that admits one node of the organisation, and the wall time at which it ends. Raises NotAProvider."""
    tier_of((await identity.organisation(tx, org_id)).kind)
    secret = new_secret("join")
    token = NodeToken(token_id=clock.new_id(), org_id=org_id, expires_at=clock.wall() + timedelta(seconds=ttl_s), used_at=None)
    await repository.add_token(tx, token, hash_secret(secret))
    return secret, token.expires_at


async def register(
    tx: Tx,
    clock: Clock,
    registration: NodeRegistration,
    *,
    known_zones: frozenset[str],
    list_prices: Mapping[str, int],
    heartbeat_interval_s: float,
) -> NodeCredentials:
    """System role. A node with a key of its own, in exchange for a one-time token.

    A name that the organisation has already is that node again: it keeps its id, its older keys end. `list_prices` holds EUR
    micro-units per GPU hour by catalogue key. Raises NodeTokenUnknown, NodeTokenExpired, NodeTokenUsed, ClockSkew, NodeBusy and
    what `read_registration` raises; nothing is written then once the caller rolls back.
    """
    offer = read_registration(registration, known_zones=known_zones, list_prices=list_prices)
    if registration.sent_at:
        health.clock_skew_s(registration.sent_at, clock.wall())
    token = check_token(await repository.lock_token(tx, hash_secret(registration.token)), clock.wall())
    tier = tier_of((await identity.organisation(tx, token.org_id)).kind)
    node_id = await _admit(tx, clock, token.org_id, tier, offer)
    await repository.use_token(tx, token.token_id, node_id, clock.wall())
    await identity.revoke_node_keys(tx, clock, node_id)
    created = await identity.create_key(tx, clock, org_id=token.org_id, role=Role.NODE, name=f"node {offer.name}", node_id=node_id)
    model = gpu.find(offer.gpu_model)
    return NodeCredentials(
        node_id=str(node_id),
        key=created.secret,
        heartbeat_interval_s=heartbeat_interval_s,
        server_time=clock.wall().isoformat(),
        gpu_idle_w=model.idle_w,
        gpu_max_w=model.tdp_w,
    )


async def _admit(tx: Tx, clock: Clock, org_id: UUID, tier: Tier, offer: NodeOffer) -> UUID:
    node_id = clock.new_id()
    if not await repository.add_node(tx, offer, node_id=node_id, org_id=org_id, tier=tier, now=clock.wall()):
        known = await repository.lock_named(tx, org_id, offer.name)
        assert known is not None, "nodes are never deleted"
        _refuse_other_hardware(known.facts, offer)
        node_id = known.facts.node_id
        await repository.adopt_node(tx, node_id, tier, offer, clock.wall())
    await repository.write_versions(tx, [node_id])
    return node_id


def _refuse_other_hardware(known: NodeFacts, offer: NodeOffer) -> None:
    """What runs on a node was placed for its zone and GPUs: they change only while nothing does."""
    same = (known.zone, known.gpu_model, known.gpu_count) == (offer.zone, offer.gpu_model, offer.gpu_count)
    if not same and len(known.free_gpus) < known.gpu_count:
        raise NodeBusy("Zone and GPUs of this node can change once its leases are closed. Drain it first.")


async def heartbeat(tx: Tx, clock: Clock, node_id: UUID, beat: Heartbeat) -> HeartbeatAck:
    """System role. A sign of life: brings pending and lost nodes into service. Raises ClockSkew and Invalid, writing nothing."""
    now = clock.wall()
    skew_s = health.clock_skew_s(beat.sent_at, now)
    node = _found(await repository.lock_node(tx, node_id))
    checks = health.examine(beat, gpu_count=node.facts.gpu_count, skew_s=skew_s)
    await repository.touch(
        tx,
        node_id,
        last_seen_at=now,
        utilisation=health.mean_utilisation(beat.gpus),
        spool_backlog=beat.spool_backlog,
        failing_checks=health.failing_kinds(checks),
    )
    await repository.add_checks(tx, node_id, node.facts.org_id, now, health.changed(checks, node.failing))
    target = health.after_heartbeat(draining=node.draining)
    changed = target is not node.facts.health
    if changed:
        await repository.set_health(tx, [node_id], target)
    return HeartbeatAck(
        server_time=now.isoformat(), clock_skew_s=round(skew_s, 3), in_service_again=changed and target is Health.HEALTHY
    )


async def mark_lost(tx: Tx, clock: Clock, lost_after_s: float) -> list[UUID]:
    """System role. Declare the nodes lost whose last heartbeat is older than this (wall time), and say which they are."""
    now = clock.wall()
    silent = await repository.lock_silent(tx, now - timedelta(seconds=lost_after_s))
    if not silent:
        return []
    lost = [node_id for node_id, _, _ in silent]
    await repository.set_health(tx, lost, Health.LOST, failing_checks=[CheckKind.HEARTBEAT])
    for node_id, org_id, last_seen_at in silent:
        silence = Check(CheckKind.HEARTBEAT, False, f"silent for {(now - last_seen_at).total_seconds():.0f} s")
        await repository.add_checks(tx, node_id, org_id, now, [silence])
    return lost


async def set_draining(tx: Tx, clock: Clock, node_id: UUID, *, draining: bool, lost_after_s: float) -> NodeStatus:
    """Stop (or resume) giving a node new placements; what runs on it stays. Doing it twice changes nothing."""
    node = _found(await repository.lock_node(tx, node_id))
    if node.draining is draining:
        return node
    silent_s = None if node.last_seen_at is None else (clock.wall() - node.last_seen_at).total_seconds()
    target = health.next_health(node.facts.health, silent_s=silent_s, draining=draining, lost_after_s=lost_after_s)
    await repository.set_health(tx, [node_id], target, draining=draining)
    return await get_status(tx, node_id)


async def get_node(tx: Tx, node_id: UUID) -> NodeFacts:
    """Raises NotFound, also for a node that the transaction's organisation may not see."""
    found = await repository.facts_now(tx, node_id)
    if not found:
        raise NotFound("There is no such node.")
    return found[0]


async def get_status(tx: Tx, node_id: UUID) -> NodeStatus:
    return _found(await repository.find_status(tx, node_id))


async def list_statuses(tx: Tx, before: UUID | None, limit: int) -> list[NodeStatus]:
    """The nodes that the transaction may see, newest first."""
    return await repository.list_statuses(tx, before, limit)


async def list_checks(tx: Tx, node_id: UUID) -> list[NodeCheck]:
    return await repository.list_checks(tx, node_id)


async def count_by_health(tx: Tx) -> dict[str, int]:
    """How many nodes are in each state of health; states without a node are left out."""
    return await repository.count_by_health(tx)


async def snapshot(tx: Tx, snapshot: str | None = None) -> list[NodeFacts]:
    """Every node with its free GPUs, ordered by id, in one query.

    With a text of `core.versioned.current_snapshot` it is the view which that text stands for, however much changed since. Without
    one it is the present; a decision that must be rebuilt later reads text and present in one repeatable transaction.
    """
    return await repository.facts_now(tx) if snapshot is None else await repository.facts_at(tx, snapshot)


async def open_lease(
    tx: Tx,
    *,
    lease_ids: Sequence[UUID],
    node_id: UUID,
    org_id: UUID,
    gpu_indices: Sequence[int],
    placement_id: UUID,
    epoch: int,
    now: datetime,
) -> None:
    """System role. One lease for each GPU, all or none; repeating it with the same ids is harmless. `now` is grid time.

    Raises LeaseConflict when another placement holds one of them; the transaction stays usable.
    """
    assert len(lease_ids) == len(gpu_indices) > 0, "one id for each GPU"
    assert all(0 <= index < MAX_GPUS_PER_NODE for index in gpu_indices), gpu_indices
    wanted = [
        Lease(
            lease_id=lease_id,
            org_id=org_id,
            node_id=node_id,
            gpu_index=gpu_index,
            placement_id=placement_id,
            epoch=epoch,
            opened_at=now,
            closed_at=None,
        )
        # In one order everywhere, so that two racing placements wait for, and never deadlock with, each other.
        for gpu_index, lease_id in sorted(zip(gpu_indices, lease_ids, strict=True))
    ]
    if not await repository.open_leases(tx, wanted):
        raise LeaseConflict("Another placement holds a GPU that this one was to get. Route it again.")


async def close_leases(tx: Tx, placement_id: UUID, now: datetime) -> int:
    """System role. Free the placement's GPUs at a grid time; how many leases were open. Repeating it closes nothing more."""
    return await repository.close_leases(tx, placement_id, now)


def _found(node: NodeStatus | None) -> NodeStatus:
    if node is None:
        raise NotFound("There is no such node.")
    return node
