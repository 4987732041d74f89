"""Queries of nodes: their facts now and as of a past snapshot, tokens, checks, leases."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

from gridbroker.core.db import Tx
from gridbroker.core.versioned import visible
from gridbroker.providers.health import Check, CheckKind, NodeCheck, NodeStatus
from gridbroker.providers.lease import Lease, free_gpus
from gridbroker.providers.models import leases, node_checks, node_tokens, node_versions, nodes
from gridbroker.providers.node import Health, NodeFacts, Tier
from gridbroker.providers.registration import NodeOffer
from gridbroker.providers.token import NodeToken

KEPT_CHECKS = 20

_VERSIONED = [column.name for column in node_versions.c if column.name not in ("node_id", "xid")]


async def add_node(tx: Tx, offer: NodeOffer, *, node_id: UUID, org_id: UUID, tier: Tier, now: datetime) -> bool:
    """A new, pending node. False when the organisation has a node of that name."""
    result = await tx.execute(
        insert(nodes)
        .values(id=node_id, org_id=org_id, created_at=now, health=Health.PENDING, **_offered(tier, offer))
        .on_conflict_do_nothing(index_elements=["org_id", "name"])
    )
    return result.rowcount == 1


async def adopt_node(tx: Tx, node_id: UUID, tier: Tier, offer: NodeOffer, now: datetime) -> None:
    """Give a node the facts of a new registration, as the next version."""
    values = _offered(tier, offer)
    await tx.execute(
        nodes.update()
        .where(nodes.c.id == node_id)
        .values(version=nodes.c.version + 1, health=Health.PENDING, last_seen_at=now, failing_checks=None, **values)
    )


async def set_health(tx: Tx, node_ids: Sequence[UUID], health: Health, **values: Any) -> None:
    """A new version with another health (and `values`) for each node."""
    await tx.execute(nodes.update().where(nodes.c.id.in_(node_ids)).values(health=health, version=nodes.c.version + 1, **values))
    await write_versions(tx, node_ids)


async def write_versions(tx: Tx, node_ids: Sequence[UUID]) -> None:
    """Keep the nodes' current facts as the version that they now have."""
    current = sa.select(nodes.c.id, *(nodes.c[name] for name in _VERSIONED)).where(nodes.c.id.in_(node_ids))
    await tx.execute(node_versions.insert().from_select(["node_id", *_VERSIONED], current))


async def touch(tx: Tx, node_id: UUID, **values: Any) -> None:
    """What a heartbeat brings and routing does not rank by."""
    await tx.execute(nodes.update().where(nodes.c.id == node_id).values(**values))


async def lock_node(tx: Tx, node_id: UUID) -> NodeStatus | None:
    """A node, held against other changes until the transaction ends; opening leases on it stays possible."""
    return await _one_status(tx, _statuses().where(nodes.c.id == node_id).with_for_update(of=nodes, key_share=True))


async def lock_named(tx: Tx, org_id: UUID, name: str) -> NodeStatus | None:
    query = _statuses().where(nodes.c.org_id == org_id, nodes.c.name == name)
    return await _one_status(tx, query.with_for_update(of=nodes, key_share=True))


async def find_status(tx: Tx, node_id: UUID) -> NodeStatus | None:
    return await _one_status(tx, _statuses().where(nodes.c.id == node_id))


async def list_statuses(tx: Tx, before: UUID | None, limit: int) -> list[NodeStatus]:
    query = _statuses().order_by(nodes.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(nodes.c.id < before)
    return [_status(row) for row in await tx.execute(query)]


async def lock_silent(tx: Tx, since: datetime) -> list[tuple[UUID, UUID, datetime]]:
    """(node, organisation, last heartbeat) of the nodes not yet lost that have been silent since a wall time."""
    query = (
        sa.select(nodes.c.id, nodes.c.org_id, nodes.c.last_seen_at)
        .where(nodes.c.health != Health.LOST, nodes.c.last_seen_at < since)
        .order_by(nodes.c.id)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return [(row.id, row.org_id, row.last_seen_at) for row in await tx.execute(query)]


async def count_by_health(tx: Tx) -> dict[str, int]:
    rows = await tx.execute(sa.select(nodes.c.health, sa.func.count().label("nodes")).group_by(nodes.c.health))
    return {row.health: row.nodes for row in rows}


async def facts_now(tx: Tx, node_id: UUID | None = None) -> list[NodeFacts]:
    """Every node (or one) as it is, in one query."""
    taken = _taken(leases.c.closed_at.is_(None))
    query = sa.select(nodes, taken.c.taken).outerjoin(taken, taken.c.node_id == nodes.c.id).order_by(nodes.c.id)
    if node_id is not None:
        query = query.where(nodes.c.id == node_id)
    return [_facts(row, row.id) for row in await tx.execute(query)]


async def facts_at(tx: Tx, snapshot: str) -> list[NodeFacts]:
    """Every node as a past snapshot saw it, in one query."""
    latest = (
        sa.select(node_versions)
        .where(visible(node_versions.c.xid, snapshot))
        .ext(distinct_on(node_versions.c.node_id))
        .order_by(node_versions.c.node_id, node_versions.c.version.desc())
        .subquery()
    )
    oldest = sa.text("closed_xid >= pg_snapshot_xmin(cast(:snapshot as pg_snapshot))").bindparams(snapshot=snapshot)
    taken = _taken(
        visible(leases.c.opened_xid, snapshot),
        # Whatever closed before the snapshot's oldest running transaction was seen closed: the index leaves it out.
        sa.or_(leases.c.closed_xid.is_(None), sa.and_(oldest, sa.not_(visible(leases.c.closed_xid, snapshot)))),
    )
    query = sa.select(latest, taken.c.taken).outerjoin(taken, taken.c.node_id == latest.c.node_id).order_by(latest.c.node_id)
    return [_facts(row, row.node_id) for row in await tx.execute(query)]


async def add_token(tx: Tx, token: NodeToken, token_hash: bytes) -> None:
    await tx.execute(
        node_tokens.insert().values(id=token.token_id, org_id=token.org_id, token_hash=token_hash, expires_at=token.expires_at)
    )


async def lock_token(tx: Tx, token_hash: bytes) -> NodeToken | None:
    """The token, held until the transaction ends: of two registrations with it the second waits, then finds it used."""
    query = sa.select(node_tokens).where(node_tokens.c.token_hash == token_hash).with_for_update()
    row = (await tx.execute(query)).first()
    if row is None:
        return None
    return NodeToken(token_id=row.id, org_id=row.org_id, expires_at=row.expires_at, used_at=row.used_at)


async def use_token(tx: Tx, token_id: UUID, node_id: UUID, now: datetime) -> None:
    await tx.execute(node_tokens.update().where(node_tokens.c.id == token_id).values(used_at=now, node_id=node_id))


async def add_checks(tx: Tx, node_id: UUID, org_id: UUID, at: datetime, checks: Sequence[Check]) -> None:
    """Keep outcomes, and of all the node's the newest KEPT_CHECKS."""
    if not checks:
        return
    values = [
        {"node_id": node_id, "org_id": org_id, "at": at, "kind": check.kind, "ok": check.ok, "detail": check.detail}
        for check in checks
    ]
    await tx.execute(node_checks.insert(), values)
    newest = (
        sa.select(node_checks.c.id).where(node_checks.c.node_id == node_id).order_by(node_checks.c.id.desc()).limit(KEPT_CHECKS)
    )
    await tx.execute(node_checks.delete().where(node_checks.c.node_id == node_id, node_checks.c.id.not_in(newest)))


async def list_checks(tx: Tx, node_id: UUID) -> list[NodeCheck]:
    """Newest first."""
    query = sa.select(node_checks).where(node_checks.c.node_id == node_id).order_by(node_checks.c.id.desc())
    return [
        NodeCheck(kind=CheckKind(row.kind), ok=row.ok, detail=row.detail, at=row.at)
        for row in await tx.execute(query.limit(KEPT_CHECKS))
    ]


async def open_leases(tx: Tx, wanted: Sequence[Lease]) -> bool:
    """Open all of the leases, or none and return False. Leases that are open already under the same ids are no conflict."""
    statement = insert(leases).values([_lease_values(one) for one in wanted]).on_conflict_do_nothing()
    added = (await tx.scalars(statement.returning(leases.c.id))).all()
    if len(added) == len(wanted):
        return True
    if not added and await _are_open(tx, wanted):
        return True
    await tx.execute(leases.delete().where(leases.c.id.in_(added)))
    return False


async def close_leases(tx: Tx, placement_id: UUID, now: datetime) -> int:
    result = await tx.execute(
        leases.update()
        .where(leases.c.placement_id == placement_id, leases.c.closed_at.is_(None))
        .values(closed_at=now, closed_xid=sa.text("pg_current_xact_id()"))
    )
    return result.rowcount


async def _are_open(tx: Tx, wanted: Sequence[Lease]) -> bool:
    mine = leases.c.id.in_([one.lease_id for one in wanted]) & (leases.c.placement_id == wanted[0].placement_id)
    return await tx.scalar(sa.select(sa.func.count()).where(mine, leases.c.closed_at.is_(None))) == len(wanted)


def _lease_values(lease: Lease) -> dict[str, Any]:
    return {
        "id": lease.lease_id,
        "org_id": lease.org_id,
        "node_id": lease.node_id,
        "gpu_index": lease.gpu_index,
        "placement_id": lease.placement_id,
        "epoch": lease.epoch,
        "opened_at": lease.opened_at,
    }


def _offered(tier: Tier, offer: NodeOffer) -> dict[str, Any]:
    return {
        "name": offer.name,
        "zone": offer.zone,
        "tier": int(tier),
        "gpu_model": offer.gpu_model,
        "gpu_count": offer.gpu_count,
        "price_micro_per_gpu_hour": offer.price_micro_per_gpu_hour,
        "pue_milli": offer.pue_milli,
        "energy_kind": offer.energy_kind,
        "backends": list(offer.backends),
    }


def _taken(*conditions: sa.ColumnElement[bool]) -> sa.Subquery:
    indices = sa.func.array_agg(leases.c.gpu_index).label("taken")
    return sa.select(leases.c.node_id, indices).where(*conditions).group_by(leases.c.node_id).subquery()


def _statuses() -> sa.Select[Any]:
    taken = (
        sa.select(sa.func.array_agg(leases.c.gpu_index))
        .where(leases.c.node_id == nodes.c.id, leases.c.closed_at.is_(None))
        .scalar_subquery()
    )
    return sa.select(nodes, taken.label("taken"))


async def _one_status(tx: Tx, query: sa.Select[Any]) -> NodeStatus | None:
    row = (await tx.execute(query)).first()
    return _status(row) if row else None


def _status(row: sa.Row[Any]) -> NodeStatus:
    return NodeStatus(
        facts=_facts(row, row.id),
        draining=row.draining,
        last_seen_at=row.last_seen_at,
        utilisation=row.utilisation,
        spool_backlog=row.spool_backlog,
        failing=None if row.failing_checks is None else frozenset(row.failing_checks),
        created_at=row.created_at,
    )


def _facts(row: sa.Row[Any], node_id: UUID) -> NodeFacts:
    return NodeFacts(
        node_id=node_id,
        org_id=row.org_id,
        name=row.name,
        zone=row.zone,
        tier=Tier(row.tier),
        gpu_model=row.gpu_model,
        gpu_count=row.gpu_count,
        free_gpus=free_gpus(row.gpu_count, row.taken or ()),
        price_micro_per_gpu_hour=row.price_micro_per_gpu_hour,
        pue=row.pue_milli / 1000,
        health=Health(row.health),
        energy_kind=row.energy_kind,
        backends=tuple(row.backends),
        version=row.version,
    )
