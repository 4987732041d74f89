"""Reviewing a running workload: cost and energy to date, and whether moving it pays."""

from datetime import timedelta

from gridbroker.broker import repository
from gridbroker.broker.migration import Assessment, RunningFacts, assess
from gridbroker.broker.policy import DEFAULT_POLICY
from gridbroker.broker.power import slowdown
from gridbroker.broker.rows import PlacementRow
from gridbroker.broker.service import placing
from gridbroker.broker.service.facts import Loaded, facts_of, spent_micro
from gridbroker.broker.service.market import Market, Question, ask, load_market
from gridbroker.core.claims import Claim
from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, Tx
from gridbroker.metering import service as metering
from gridbroker.metering.sample import weaker
from gridbroker.node_agent.protocol import EnergyKind
from gridbroker.providers.gpu import CATALOGUE, find

MIB = 1024 * 1024


async def review(db: Database, clock: Clock, claim: Claim, loaded: Loaded, interval: timedelta) -> None:
    """Assess against the market of this moment, and record: stay with figures brought up to date, or move."""
    async with db.as_system(repeatable=True) as tx:
        market = await load_market(tx, clock.now())
        energy_mj, _ = await energy_to_date(tx, loaded, clock)
    placement = loaded.current
    assert placement is not None
    question = _question(loaded, placement, market)
    route = ask(market, loaded.workload.spec, question)
    running = _running_facts(loaded, placement, market, question)
    assessment = assess(running, route, market.outlooks, CATALOGUE, DEFAULT_POLICY, market.at) if running else None
    async with db.as_system() as tx:
        if assessment is not None and assessment.target is not None:
            decision_id = await placing.review_kept(tx, clock, loaded, market, question, route, assessment, "move")
            await placing.migrating(tx, clock, claim, loaded, assessment.target, decision_id, assessment)
            return
        if assessment is not None and assessment.broken and running is not None and running.checkpointable:
            await placing.review_kept(tx, clock, loaded, market, question, route, assessment, "pause")
            await placing.pausing(tx, clock, claim, loaded, assessment.broken)
            return
        if assessment is not None and await _is_news(tx, loaded, assessment):
            await placing.review_kept(tx, clock, loaded, market, question, route, assessment, "stay")
        facts = facts_of(loaded, clock, review_interval=interval)
        next_at = min(at for at in (clock.now() + interval, facts.runs_out_at) if at is not None)
        await placing.reviewed(tx, clock, claim, loaded, energy_mj, placing.wall_delay_s(next_at, clock))


async def energy_to_date(tx: Tx, loaded: Loaded, clock: Clock) -> tuple[int, str | None]:
    """Metered so far over all placements, mJ, and its weakest kind (None: nothing ran); from the samples that have arrived."""
    total = 0
    weakest: EnergyKind | None = None
    for placement in loaded.placements:
        if placement.started_at is None:
            continue
        end = placement.ended_at or max(clock.now(), placement.started_at)
        energy_mj, kind = await metering.energy_to_date(
            tx, placement.node_id, placement.gpu_indices, placement.started_at, end, clock_factor=clock.factor
        )
        total += energy_mj
        weakest = weaker(weakest or EnergyKind(kind), EnergyKind(kind))
    return total, weakest


def _question(loaded: Loaded, placement: PlacementRow, market: Market) -> Question:
    return Question(
        remaining_share=1 - _share_done(loaded, placement, market),
        budget_micro=max(0, loaded.workload.hold_micro - spent_micro(loaded, market.at)),
        exclude_nodes=(placement.node_id,),
    )


def _share_done(loaded: Loaded, placement: PlacementRow, market: Market) -> float:
    """By the steps reported; without them, by the time that has passed against the owner's estimate."""
    workload = loaded.workload
    if workload.step is not None and workload.total_steps:
        return min(1.0, workload.step / workload.total_steps)
    assert placement.started_at is not None
    elapsed_h = (market.at - placement.started_at) / timedelta(hours=1)
    return min(0.99, elapsed_h / (workload.spec.expected_hours * _slowdown(loaded, placement)))


def _slowdown(loaded: Loaded, placement: PlacementRow) -> float:
    return slowdown(loaded.workload.spec, find(placement.gpu_model), DEFAULT_POLICY) or 1.0


def _running_facts(loaded: Loaded, placement: PlacementRow, market: Market, question: Question) -> RunningFacts | None:
    """None when the node is not in the market any more; then there is nothing to compare."""
    node = next((node for node in market.nodes if node.node_id == placement.node_id), None)
    if node is None or placement.started_at is None:
        return None
    workload, checkpoint = loaded.workload, loaded.checkpoint
    return RunningFacts(
        spec=workload.spec,
        node=node,
        started_at=placement.started_at,
        price_micro_per_gpu_hour=placement.price_micro_per_gpu_hour,
        share_done=1 - question.remaining_share,
        remaining_hours=workload.spec.expected_hours * _slowdown(loaded, placement) * question.remaining_share,
        moves=workload.moves,
        checkpointable=workload.spec.checkpoint,
        checkpoint_bytes=checkpoint.bytes if checkpoint else workload.spec.checkpoint_mib * MIB,
        budget_left_micro=question.budget_micro,
    )


async def _is_news(tx: Tx, loaded: Loaded, assessment: Assessment) -> bool:
    """Whether the reason differs from the last review's, so that hours of the same answer are one row."""
    last = await repository.last_decision(tx, loaded.workload.workload_id)
    if last is None or last.kind != "review":
        return True
    told = last.body.get("assessment", {})
    return told.get("reason") != assessment.reason or told.get("node_name") != assessment.node_name
