"""Statements for tests: a run over two hours, one move, two providers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from gridbroker.core.units import emissions_mg
from gridbroker.metering.statement import Baseline, Counterfactual, PlacementUsage, Statement, StatementSegment

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
CUSTOMER, FIRST, SECOND = UUID(int=0xC), UUID(int=0xA1), UUID(int=0xA2)


def segment(number: int, provider: UUID, hour: int, energy_mj: int, intensity: int, **other: object) -> StatementSegment:
    start, facility_mj = NOON + timedelta(hours=hour), energy_mj * 6 // 5
    values: dict = {
        "placement_id": UUID(int=number),
        "node_id": UUID(int=number + 100),
        "provider_org_id": provider,
        "zone": "FR" if number == 1 else "PL",
        "from_at": start + timedelta(microseconds=17),
        "to_at": start + timedelta(minutes=59, seconds=59),
        "energy_mj": energy_mj,
        "facility_energy_mj": facility_mj,
        "energy_kind": "measured",
        "intensity_mg_per_kwh": intensity,
        "intensity_source": "typical",
        "intensity_quality": "modelled",
        "emissions_mg": emissions_mg(facility_mj, intensity),
    }
    return StatementSegment(**(values | other))


def statement(*, costs: tuple[int, int] = (1_000_000, 500_001), workload: int = 0xB, **other: object) -> Statement:
    segments = (
        segment(1, FIRST, 0, 900_000_001, 56_000),
        segment(1, FIRST, 1, 450_000_000, 60_500),
        segment(2, SECOND, 1, 300_000_007, 700_123, energy_kind="modelled"),
    )
    actual_mg = sum(one.emissions_mg for one in segments)
    usages = tuple(
        PlacementUsage(
            placement_id=UUID(int=number),
            node_id=UUID(int=number + 100),
            provider_org_id=provider,
            zone=zone,
            gpu_model="h100-sxm",
            gpu_count=1,
            from_at=NOON,
            to_at=NOON + timedelta(hours=2),
            price_micro_per_gpu_hour=1_000_000,
            energy_mj=sum(one.energy_mj for one in segments if one.placement_id.int == number),
            cost_micro=cost,
        )
        for number, provider, zone, cost in ((1, FIRST, "FR", costs[0]), (2, SECOND, "PL", costs[1]))
    )
    whole = Statement(
        statement_id=UUID(int=workload + 0x1000),
        workload_id=UUID(int=workload),
        org_id=CUSTOMER,
        outcome="completed",
        from_at=NOON,
        to_at=NOON + timedelta(hours=2),
        usages=usages,
        segments=segments,
        energy_mj=sum(one.energy_mj for one in segments),
        facility_energy_mj=sum(one.facility_energy_mj for one in segments),
        emissions_mg=actual_mg,
        cost_micro=sum(costs),
        counterfactuals=(
            Counterfactual(
                baseline=Baseline.HOME_ZONE, zones=("DE",), emissions_mg=200_000, avoided_mg=200_000 - actual_mg, complete=True
            ),
            Counterfactual(
                baseline=Baseline.BEST_FIXED_ZONE, zones=("FR",), emissions_mg=30, avoided_mg=30 - actual_mg, complete=False
            ),
        ),
        moves=1,
        energy_kind="modelled",
        grid_quality="modelled",
        clock_factor=60,
        method="gridbroker-metering/1",
    )
    return replace(whole, **other)  # type: ignore[arg-type]


def nothing_ran(workload: int = 0xB) -> Statement:
    return statement(
        costs=(0, 0),
        workload=workload,
        outcome="cancelled",
        usages=(),
        segments=(),
        energy_mj=0,
        facility_energy_mj=0,
        emissions_mg=0,
        counterfactuals=(),
        moves=0,
        energy_kind="none",
        grid_quality="none",
        clock_factor=1,
    )
