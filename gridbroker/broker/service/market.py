"""The market at one moment: every node and every zone's outlook, and what it takes to see it again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from gridbroker.broker import repository
from gridbroker.broker.policy import DEFAULT_POLICY, Policy
from gridbroker.broker.routing import Route, route
from gridbroker.broker.rows import DecisionRow, WorkloadRow
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.core.db import Tx
from gridbroker.core.errors import NotFound
from gridbroker.core.versioned import current_snapshot
from gridbroker.grid import service as grid
from gridbroker.grid.signal import Outlook
from gridbroker.providers import service as providers
from gridbroker.providers.gpu import CATALOGUE
from gridbroker.providers.node import NodeFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    at: datetime
    nodes: tuple[NodeFacts, ...]
    outlooks: dict[str, Outlook]
    snapshot: str
    """Text of the database snapshot that this was read from; `rebuild` reads the same again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked of a market, beside the workload itself. Stored with the decision."""

    remaining_share: float
    budget_micro: int
    exclude_nodes: tuple[UUID, ...] = ()


async def load_market(tx: Tx, now: datetime) -> Market:
    """The market now. The transaction must be repeatable, so that all parts show one moment."""
    snapshot = await current_snapshot(tx)
    nodes = await providers.snapshot(tx)
    return Market(at=now, nodes=tuple(nodes), outlooks=await grid.outlooks(tx, now), snapshot=snapshot)


def ask(market: Market, spec: WorkloadSpec, question: Question, policy: Policy = DEFAULT_POLICY) -> Route:
    return route(
        spec,
        market.nodes,
        market.outlooks,
        CATALOGUE,
        policy,
        market.at,
        remaining_share=question.remaining_share,
        exclude_nodes=frozenset(question.exclude_nodes),
        budget_micro=question.budget_micro,
    )


async def rebuild(tx: Tx, decision_id: UUID) -> Route:
    """Decide again what was decided then, from the facts that were visible then. Equal to what is stored, or something is wrong."""
    decision = await repository.find_decision(tx, decision_id)
    workload = await repository.find_workload(tx, decision.workload_id) if decision else None
    if decision is None or workload is None:
        raise NotFound("There is no such decision.")
    return ask(await _past_market(tx, decision), workload.spec, msgspec.convert(decision.inputs, Question))


async def _past_market(tx: Tx, decision: DecisionRow) -> Market:
    return Market(
        at=decision.decided_at,
        nodes=tuple(await providers.snapshot(tx, decision.snapshot)),
        outlooks=await grid.outlooks(tx, decision.decided_at, snapshot=decision.snapshot),
        snapshot=decision.snapshot,
    )


def remaining_share(workload: WorkloadRow, resume_step: int | None) -> float:
    """What is left to do after resuming from a step; everything without a checkpoint or a known total."""
    if resume_step is None or not workload.total_steps:
        return 1.0
    return max(0.0, 1 - resume_step / workload.total_steps)


def as_body(value: Any) -> dict[str, Any]:
    """A decision's parts as plain JSON."""
    return msgspec.to_builtins(value, str_keys=True)
