"""Emissions of metered energy, and of the same energy under named baselines.

Location-based: facility energy (IT energy times the site's PUE) times the zone's settled average intensity of that hour. Every
product is an integer, rounded half to even once per hour and piece, so a baseline that equals what happened differs by exactly
zero. Baseline minus actual is signed and never clipped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from gridbroker.core.errors import Unavailable
from gridbroker.core.units import div_half_even, emissions_mg, hour_floor
from gridbroker.metering.energy import hour_cuts
from gridbroker.metering.statement import Baseline, Counterfactual
from gridbroker.node_agent.protocol import EnergyKind

_QUALITY_WEAKNESS = {"measured": 0, "estimated": 1, "forecast": 2, "modelled": 3}
_PER_MILLE = 1000


class IntensityMissing(Unavailable):
    """Nothing at all is known of a zone around the run. Worth trying again: the grid sources may catch up."""

    code, title = "intensity_missing", "No carbon intensity is known for a zone yet"


@dataclass(frozen=True, slots=True)
class Intensity:
    """Settled average intensity of one zone and hour."""

    mg_per_kwh: int
    source: str
    quality: str
    exact: bool = True
    """False when the hour was missing, or may have been, and a neighbouring one stood in."""


@dataclass(frozen=True, slots=True)
class Intensities:
    """What is known of each zone and hour."""

    known: Mapping[tuple[str, datetime], Intensity]

    def find(self, zone: str, hour: datetime) -> Intensity:
        """The intensity of an hour, or of the nearest known hour of that zone (the earlier of two), then at best `estimated`.

        Raises IntensityMissing when nothing is known of the zone.
        """
        if (exact := self.known.get((zone, hour))) is not None:
            return exact
        hours = [at for known_zone, at in self.known if known_zone == zone]
        if not hours:
            raise IntensityMissing(f"No carbon intensity of {zone} is known around {hour:%Y-%m-%d %H:%M}; it is tried again.")
        nearest = self.known[zone, min(hours, key=lambda at: (abs(at - hour), at))]
        quality = weakest_quality([nearest.quality, "estimated"])
        return replace(nearest, quality=quality, exact=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySlice:
    """Energy of one placement, over all its GPUs, within one clock hour."""

    placement_id: UUID
    node_id: UUID
    provider_org_id: UUID
    zone: str
    pue_milli: int
    from_at: datetime
    to_at: datetime
    energy_mj: int
    kind: EnergyKind


@dataclass(frozen=True, slots=True)
class FeasibleNode:
    """A node where the workload could have run when it was submitted."""

    node_id: UUID
    zone: str
    pue_milli: int


@dataclass(frozen=True, slots=True)
class _Total:
    emissions_mg: int
    complete: bool


def pue_milli(pue: float) -> int:
    """PUE in thousandths, as it is multiplied: 1.25 -> 1250."""
    return round(pue * _PER_MILLE)


def facility_energy_mj(energy_mj: int, pue_milli: int) -> int:
    """What the whole site drew for this IT energy, rounded half to even."""
    return div_half_even(energy_mj * pue_milli, _PER_MILLE)


def weakest_quality(qualities: Sequence[str], default: str = "none") -> str:
    """The quality that claims least; one that is not known here claims nothing."""
    return max(qualities, key=lambda quality: _QUALITY_WEAKNESS.get(quality, len(_QUALITY_WEAKNESS)), default=default)


def counterfactuals(
    slices: Sequence[EnergySlice],
    intensities: Intensities,
    *,
    actual_mg: int,
    home_zone: str,
    waited: timedelta,
    feasible: Sequence[FeasibleNode],
) -> tuple[Counterfactual, ...]:
    """What the same IT energy would have emitted under each baseline. All three are always given, zeros when nothing ran.

    - home zone: started at submission, so every slice is moved `waited` earlier; the home zone has no site, so the PUE is that of
      the site where the energy was really used, and only the grid differs;
    - uniform feasible: the mean over feasible nodes, each once with its own PUE, at the hours of the actual run;
    - best fixed zone: the feasible zone with the least total at the hours of the actual run, with the best PUE found there.

    A run for which no feasible node was recorded counts the nodes where it ran as feasible: there it evidently was.
    """
    nodes = feasible or list({piece.node_id: FeasibleNode(piece.node_id, piece.zone, piece.pue_milli) for piece in slices}.values())
    home = _sum([_emissions(intensities, home_zone, piece, piece.pue_milli, waited) for piece in slices])
    by_site = {site: _fixed(slices, intensities, *site) for site in {(node.zone, node.pue_milli) for node in nodes}}
    uniform = _sum([by_site[node.zone, node.pue_milli] for node in nodes])
    uniform_mg = div_half_even(uniform.emissions_mg, len(nodes)) if nodes else 0
    best = min(by_site, key=lambda site: (by_site[site].emissions_mg, site), default=None)
    best_mg = by_site[best].emissions_mg if best else 0
    zones = tuple(sorted({node.zone for node in nodes}))

    def against(baseline: Baseline, zones: tuple[str, ...], emissions_mg: int, *, complete: bool) -> Counterfactual:
        return Counterfactual(
            baseline=baseline, zones=zones, emissions_mg=emissions_mg, avoided_mg=emissions_mg - actual_mg, complete=complete
        )

    return (
        against(Baseline.HOME_ZONE, (home_zone,), home.emissions_mg, complete=home.complete),
        against(Baseline.UNIFORM_FEASIBLE, zones, uniform_mg, complete=uniform.complete),
        # Any stand-in may have decided which zone is best, so all of them count here too.
        against(Baseline.BEST_FIXED_ZONE, (best[0],) if best else (), best_mg, complete=uniform.complete),
    )


def _fixed(slices: Sequence[EnergySlice], intensities: Intensities, zone: str, pue_milli: int) -> _Total:
    return _sum([_emissions(intensities, zone, piece, pue_milli, timedelta()) for piece in slices])


def _emissions(intensities: Intensities, zone: str, piece: EnergySlice, pue_milli: int, earlier: timedelta) -> _Total:
    """A slice's energy moved to another zone and time. Where it then spans two clock hours it is shared in proportion to time."""
    parts: list[_Total] = []
    for from_at, to_at in pairwise(hour_cuts(piece.from_at - earlier, piece.to_at - earlier)):
        energy_mj = _until(piece, to_at + earlier) - _until(piece, from_at + earlier)
        intensity = intensities.find(zone, hour_floor(from_at))
        emitted = emissions_mg(facility_energy_mj(energy_mj, pue_milli), intensity.mg_per_kwh)
        parts.append(_Total(emitted, intensity.exact))
    return _sum(parts)


def _until(piece: EnergySlice, at: datetime) -> int:
    """The slice's energy up to a time, rounded down."""
    microsecond = timedelta(microseconds=1)
    return piece.energy_mj * ((at - piece.from_at) // microsecond) // ((piece.to_at - piece.from_at) // microsecond)


def _sum(totals: Sequence[_Total]) -> _Total:
    return _Total(sum(total.emissions_mg for total in totals), all(total.complete for total in totals))
