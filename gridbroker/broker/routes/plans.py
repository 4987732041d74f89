"""Plans and offers: what routing would do, without writing anything."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, QueryParameter, SkipValidation

from gridbroker.broker.policy import DEFAULT_POLICY
from gridbroker.broker.preview import preview
from gridbroker.broker.routes.bodies import WorkloadBody, to_spec
from gridbroker.broker.routes.workloads import DEFAULT_HOME_ZONE
from gridbroker.broker.routing import Candidate, Route
from gridbroker.broker.service.market import Question, as_body, ask, load_market
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.core.clock import Clock
from gridbroker.core.db import Database
from gridbroker.core.errors import FieldError, Invalid
from gridbroker.core.money import format_micro
from gridbroker.identity import service as identity
from gridbroker.identity.guards import allow
from gridbroker.identity.role import PEOPLE, Caller, Role
from gridbroker.providers.gpu import find

OFFER_HOURS = 1.0


class PlanView(msgspec.Struct):
    feasible: bool
    plan: dict[str, Any]
    """Place, start; cost (EUR micro), energy (mJ), emissions (mg) as ranges; second best; binding constraint; warnings."""
    candidates: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    rejected_counts: dict[str, int]
    clock_factor: int


class OfferView(msgspec.Struct):
    node_id: UUID
    node_name: str
    zone: str
    tier: int
    gpu_model: str
    free_gpus: int
    price_eur_per_gpu_hour: str
    intensity_g_per_kwh: float
    renewable_share: float | None
    grid_source: str
    grid_quality: str
    observed_at: datetime
    score: dict[str, Any]
    energy_kind: str


class Offers(msgspec.Struct):
    data: list[OfferView]
    rejected_counts: dict[str, int]
    at: datetime
    clock_factor: int


@post("/api/v1/plans", guards=[allow(Role.DEVELOPER)], status_code=200, tags=["plans"])
async def plan(
    data: JSONBody[WorkloadBody],
    caller: NamedDependency[Caller],
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    known_zones: NamedDependency[frozenset[str]],
) -> PlanView:
    """A dry run: the same routing over the same market, and nothing written."""
    async with db.as_org(caller.org_id) as tx:
        home_zone = data.home_zone or (await identity.organisation(tx, caller.org_id)).home_zone or DEFAULT_HOME_ZONE
    spec = to_spec(data, known_zones=known_zones, home_zone=home_zone, now=clock.now())
    route = await _route(db, clock, spec)
    found = preview(spec, route, DEFAULT_POLICY)
    return PlanView(
        feasible=found.feasible,
        plan=as_body(found),
        candidates=[as_body(one) for one in route.candidates],
        rejected=[as_body(one) for one in route.rejected],
        rejected_counts=route.rejected_counts,
        clock_factor=clock.factor,
    )


@get("/api/v1/offers", guards=[allow(*PEOPLE)], tags=["plans"])
async def offers(
    db: NamedDependency[Database],
    clock: NamedDependency[SkipValidation[Clock]],
    known_zones: NamedDependency[frozenset[str]],
    gpu_model: FromQuery[str | None] = None,
    gpus: Annotated[int, QueryParameter(ge=1, le=16)] = 1,
    vram_mib: Annotated[int, QueryParameter(ge=0, le=1_000_000)] = 0,
    zone: FromQuery[str | None] = None,
) -> Offers:
    """Where an hour could run now, best first: the router's own ranking without the write."""
    if zone is not None and zone not in known_zones:
        raise Invalid("There is no such zone.", errors=[FieldError("/zone", f"one of {', '.join(sorted(known_zones))}")])
    spec = WorkloadSpec(
        name="offer",
        gpu_model=find(gpu_model).key if gpu_model else None,
        gpu_count=gpus,
        vram_mib=vram_mib,
        expected_hours=OFFER_HOURS,
        budget_micro=10**12,
        allowed_zones=(zone,) if zone else (),
    )
    async with db.as_system(repeatable=True) as tx:
        market = await load_market(tx, clock.now())
    route = ask(market, spec, Question(remaining_share=1.0, budget_micro=spec.budget_micro))
    free = {node.node_id: len(node.free_gpus) for node in market.nodes}
    shares = {name: outlook.renewable_share for name, outlook in market.outlooks.items()}
    data = [_offer(one, free[one.node_id], shares.get(one.zone)) for one in route.candidates]
    return Offers(data, route.rejected_counts, market.at, clock.factor)


async def _route(db: Database, clock: Clock, spec: WorkloadSpec) -> Route:
    async with db.as_system(repeatable=True) as tx:
        market = await load_market(tx, clock.now())
    return ask(market, spec, Question(remaining_share=1.0, budget_micro=spec.budget_micro))


def _offer(one: Candidate, free_gpus: int, renewable_share: float | None) -> OfferView:
    grid = one.run.grid
    return OfferView(
        node_id=one.node_id,
        node_name=one.node_name,
        zone=one.zone,
        tier=int(one.tier),
        gpu_model=one.gpu_model,
        free_gpus=free_gpus,
        price_eur_per_gpu_hour=format_micro(one.price_micro_per_gpu_hour),
        intensity_g_per_kwh=round(one.run.mean_intensity_g_per_kwh, 1),
        renewable_share=renewable_share,
        grid_source=grid.source,
        grid_quality=grid.quality,
        observed_at=grid.observed_at,
        score=as_body(one.score),
        energy_kind=one.energy_kind,
    )


PLAN_ROUTES = [plan, offers]
