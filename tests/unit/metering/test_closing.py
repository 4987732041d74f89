from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from gridbroker.metering.body import from_body, to_body
from gridbroker.metering.closing import PlacementFacts, StatementFacts, draw_up
from gridbroker.metering.footprint import EnergySlice, Intensities, Intensity
from gridbroker.node_agent.protocol import EnergyKind

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KWH = 3_600_000_000
GRID = Intensities(
    {
        **{("DE", NOON + HOUR * offset): Intensity(400_000, "replay", "measured") for offset in range(-3, 3)},
        **{("FR", NOON + HOUR * offset): Intensity(50_000, "replay", "estimated") for offset in range(-3, 3)},
    }
)


def placement(number: int, zone: str, start: datetime, end: datetime) -> PlacementFacts:
    return PlacementFacts(
        placement_id=UUID(int=number),
        node_id=UUID(int=number + 10),
        provider_org_id=UUID(int=number + 20),
        zone=zone,
        pue=1.2,
        gpu_model="H100-SXM5-80GB",
        gpu_indices=(0, 1),
        started_at=start,
        ended_at=end,
        price_micro_per_gpu_hour=2_400_000,
        cost_micro=1000 + number,
    )


FACTS = StatementFacts(
    workload_id=UUID(int=1),
    org_id=UUID(int=2),
    outcome="completed",
    submitted_at=NOON - HOUR,
    home_zone="DE",
    feasible=((UUID(int=11), "FR", 1.2), (UUID(int=12), "DE", 1.2)),
    placements=(placement(2, "DE", NOON + HOUR, NOON + 2 * HOUR), placement(1, "FR", NOON, NOON + HOUR)),
    moves=1,
    clock_factor=480,
)


def energy(of: PlacementFacts, mj: int, kind: EnergyKind = EnergyKind.MEASURED) -> EnergySlice:
    return EnergySlice(
        placement_id=of.placement_id,
        node_id=of.node_id,
        provider_org_id=of.provider_org_id,
        zone=of.zone,
        pue_milli=1200,
        from_at=of.started_at,
        to_at=of.ended_at,
        energy_mj=mj,
        kind=kind,
    )


SLICES = [energy(FACTS.placements[0], KWH), energy(FACTS.placements[1], 2 * KWH, EnergyKind.MODELLED)]


def test_a_statement_adds_up():
    statement = draw_up(FACTS, SLICES, GRID)
    assert [usage.energy_mj for usage in statement.usages] == [2 * KWH, KWH]
    assert statement.energy_mj == sum(segment.energy_mj for segment in statement.segments) == 3 * KWH
    assert statement.facility_energy_mj == 3 * KWH * 12 // 10
    assert [segment.emissions_mg for segment in statement.segments] == [2 * 12 * 5_000, 12 * 40_000]
    assert statement.emissions_mg == 600_000
    assert statement.cost_micro == 1001 + 1002
    assert (statement.from_at, statement.to_at) == (NOON, NOON + 2 * HOUR)


def test_a_statement_claims_no_more_than_its_weakest_part():
    statement = draw_up(FACTS, SLICES, GRID)
    assert (statement.energy_kind, statement.grid_quality) == ("modelled", "estimated")
    assert statement.clock_factor == 480


def test_the_headline_is_against_the_home_zone():
    home = draw_up(FACTS, SLICES, GRID).counterfactuals[0]
    assert (home.emissions_mg, home.avoided_mg) == (3 * 12 * 40_000, 3 * 12 * 40_000 - 600_000)


def test_what_never_ran_has_a_statement_of_zeros():
    statement = draw_up(replace(FACTS, placements=(), outcome="cancelled", moves=0), [], Intensities({}))
    assert (statement.energy_mj, statement.emissions_mg, statement.cost_micro, statement.segments) == (0, 0, 0, ())
    assert (statement.energy_kind, statement.grid_quality) == ("none", "none")
    assert (statement.from_at, statement.to_at) == (FACTS.submitted_at, FACTS.submitted_at)
    assert [baseline.avoided_mg for baseline in statement.counterfactuals] == [0, 0, 0]


def test_the_same_workload_always_gets_the_same_statement_id():
    assert draw_up(FACTS, SLICES, GRID).statement_id == draw_up(FACTS, [], Intensities({})).statement_id


def test_a_kept_statement_is_read_back_exactly():
    vast = replace(draw_up(FACTS, SLICES, GRID), energy_mj=2**53 + 1, cost_micro=-(2**60))
    body = to_body(vast)
    assert (body["energy_mj"], body["cost_micro"], body["moves"]) == (str(2**53 + 1), str(-(2**60)), 1)
    assert from_body(body) == vast
