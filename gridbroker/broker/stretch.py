"""What a stretch of time on a place costs, in every unit that a move compares; and what it costs to get from one to another."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gridbroker.broker.expectation import cost_micro, electricity_micro, facility_emissions_mg
from gridbroker.broker.horizon import window
from gridbroker.broker.policy import MoveRule, Policy
from gridbroker.broker.scoring import Place, rate, reference_emissions_g_per_h, reference_price_micro_per_h
from gridbroker.broker.workload import WorkloadSpec
from gridbroker.core.units import MILLIJOULES_PER_KWH, energy_mj
from gridbroker.grid.signal import Outlook

BYTES_PER_GB = 1_000_000_000
SECONDS_PER_HOUR = 3600
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    hours: float
    score_h: float
    """Rate of the score (carbon and price) summed over the hours: 0.9 is one hour at the references."""
    energy_mj: int
    """IT energy at the GPUs, or of the network."""
    emissions_mg: int
    price_micro: int
    """What the customer pays."""
    electricity_micro: int | None
    """Wholesale value of the facility's energy; None where a zone has no price."""

    def plus(self, other: "Stretch") -> "Stretch":
        return self._with(other, 1)

    def minus(self, other: "Stretch") -> "Stretch":
        return self._with(other, -1)

    def _with(self, other: "Stretch", sign: int) -> "Stretch":
        mine, theirs = self.electricity_micro, other.electricity_micro
        return Stretch(
            hours=self.hours + sign * other.hours,
            score_h=self.score_h + sign * other.score_h,
            energy_mj=self.energy_mj + sign * other.energy_mj,
            emissions_mg=self.emissions_mg + sign * other.emissions_mg,
            price_micro=self.price_micro + sign * other.price_micro,
            electricity_micro=None if mine is None or theirs is None else mine + sign * theirs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place on its grid."""

    place: Place
    outlook: Outlook


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveTime:
    """Hours that the parts of a move take; work stands still from the start to the end of them."""

    checkpoint_h: float
    upload_h: float
    download_h: float
    restart_h: float
    lost_work_h: float
    """Work since the last checkpoint, to be done again: hours on the source."""

    @property
    def source_held_h(self) -> float:
        """The source is let go once its checkpoint is safe in the store."""
        return self.checkpoint_h + self.upload_h

    @property
    def downtime_h(self) -> float:
        return self.checkpoint_h + self.upload_h + self.download_h + self.restart_h


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveCost:
    """What moving takes beyond the remaining work itself. No part is negative."""

    time: MoveTime
    source_held: Stretch
    target_waiting: Stretch
    """The target is leased first and waits through the whole downtime."""
    lost_work: Stretch
    """Done again on the target."""
    transfer: Stretch
    total: Stretch


def stretch(spec: WorkloadSpec, site: Site, start: datetime, hours: float, policy: Policy) -> Stretch:
    """The workload on `site` for `hours` from `start`, drawing its full expected power throughout."""
    over = window(site.outlook, start, hours)
    energy = energy_mj(site.place.power_w, hours * SECONDS_PER_HOUR)
    return Stretch(
        hours=hours,
        score_h=hours * rate(spec, site.place, over.intensity_g_per_kwh, policy),
        energy_mj=energy,
        emissions_mg=facility_emissions_mg(energy, site.place.pue, over.intensity_g_per_kwh),
        price_micro=cost_micro(site.place.price_micro_per_gpu_hour, spec.gpu_count, hours),
        electricity_micro=electricity_micro(energy, site.place.pue, over.price_eur_per_mwh),
    )


def move_time(spec: WorkloadSpec, checkpoint_bytes: int, rule: MoveRule) -> MoveTime:
    crossing_h = checkpoint_bytes / BYTES_PER_GB / rule.bandwidth_gb_per_s / SECONDS_PER_HOUR
    interval = timedelta(seconds=spec.checkpoint_interval_s) or rule.assumed_checkpoint_interval
    return MoveTime(
        checkpoint_h=rule.checkpoint / _HOUR,
        upload_h=crossing_h,
        download_h=crossing_h,
        restart_h=rule.restart / _HOUR,
        lost_work_h=interval / _HOUR / 2,
    )


def move_cost(
    spec: WorkloadSpec, source: Site, target: Site, *, work_h: float, checkpoint_bytes: int, policy: Policy, now: datetime
) -> MoveCost:
    """Cost of moving now. `work_h` is the remaining work on the target, after which the lost work follows."""
    time = move_time(spec, checkpoint_bytes, policy.move)
    relative = target.place.slowdown / source.place.slowdown
    resumed_at = now + time.downtime_h * _HOUR
    held = stretch(spec, source, now, time.source_held_h, policy)
    waiting = stretch(spec, target, now, time.downtime_h, policy)
    lost = stretch(spec, target, resumed_at + work_h * _HOUR, time.lost_work_h * relative, policy)
    transfer = _transfer(spec, (source, target), checkpoint_bytes, policy, now)
    return MoveCost(
        time=time,
        source_held=held,
        target_waiting=waiting,
        lost_work=lost,
        transfer=transfer,
        total=held.plus(waiting).plus(lost).plus(transfer),
    )


def _transfer(spec: WorkloadSpec, sites: tuple[Site, Site], checkpoint_bytes: int, policy: Policy, now: datetime) -> Stretch:
    """Network energy at the dirtier of the two zones, and egress; its time is part of the downtime."""
    rule = policy.move
    gigabytes = checkpoint_bytes / BYTES_PER_GB * rule.transfers
    energy = round(gigabytes * rule.network_kwh_per_gb * MILLIJOULES_PER_KWH)
    ends = [window(site.outlook, now, 0.0) for site in sites]
    emissions_mg = facility_emissions_mg(energy, 1.0, max(end.intensity_g_per_kwh for end in ends))
    price_micro = round(gigabytes * rule.egress_micro_per_gb)
    prices = [end.price_eur_per_mwh for end in ends if end.price_eur_per_mwh is not None]
    return Stretch(
        hours=0.0,
        score_h=policy.weights.carbon * emissions_mg / 1000 / reference_emissions_g_per_h(spec, policy)
        + policy.weights.price * price_micro / reference_price_micro_per_h(spec, policy),
        energy_mj=energy,
        emissions_mg=emissions_mg,
        price_micro=price_micro,
        electricity_micro=electricity_micro(energy, 1.0, max(prices)) if len(prices) == len(ends) else None,
    )
