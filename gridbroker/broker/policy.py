"""Every number that a decision rests on, as one versioned value. Changing any of them means a new version."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from gridbroker.broker.workload import MAX_MOVES
from gridbroker.providers.node import Tier

POLICY_VERSION = "gridbroker-policy/1"


class TierPolicy(StrEnum):
    STRICT = "strict"
    """Recyclers before data centres before gamers, whatever the score."""
    HANDICAP = "handicap"
    """One ranking by score, to which each tier adds its handicap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Of the terms of a score. With these, one per cent of the reference carbon is worth two per cent of the reference price."""

    carbon: float = 0.6
    price: float = 0.3
    utilisation: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What each term of a score is measured against: a plain H100 in a plain data centre on a plain grid.

    Fixed, so that no candidate's score depends on who else is a candidate.
    """

    gpu: str = "H100 SXM5 80 GB"
    tdp_w: float = 700.0
    idle_w: float = 70.0
    bf16_dense_tflops: float = 989.0
    price_micro_per_gpu_hour: int = 2_400_000
    """Rate card's base price of the reference GPU: EUR 2.40."""
    pue: float = 1.3
    intensity_g_per_kwh: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GreenRules:
    """What `green_only` and the tiers promise about the grid."""

    max_intensity_g_per_kwh: float = 100.0
    """A zone is green in an hour at or below this: the life-cycle threshold of the EU taxonomy for generating electricity."""
    gamer_min_renewable_share: float = 0.5
    """A gamer's node takes new work only while more than this share of its grid is renewable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRule:
    """When moving a running workload pays, and what it is taken to cost. Durations err on the long side."""

    alarm_ratio: float = 0.25
    """How much worse than the best alternative the current place must be before a move is assessed."""
    alarm_floor: float = 0.1
    """Smallest rate that the alarm divides by, so that a nearly free alternative does not alarm for ever."""
    theta: float = 0.15
    """Share of the cost of staying that a move must save on top of its own cost. Best of {0, .05, .15, .3, .5} when moves are
    cheap, on the hourly grid data of eleven zones in 2022."""
    max_moves: int = MAX_MOVES
    min_dwell: timedelta = timedelta(hours=1)
    dwell_per_downtime: float = 4.0
    """A placement lasts at least this many times the downtime of a move before the next one."""
    checkpoint: timedelta = timedelta(minutes=5)
    """Writing and committing a checkpoint and stopping. PyTorch reports 149 s for a 7B model; doubled."""
    restart: timedelta = timedelta(minutes=5)
    """Starting and loading on the target: the slow end of the usual one to five minutes."""
    assumed_checkpoint_interval: timedelta = timedelta(minutes=15)
    """When the owner declares none. Half an interval counts as lost: programs that checkpoint when stopped lose less."""
    bandwidth_gb_per_s: float = 0.125
    """1 Gb/s on the way to and from the broker's store."""
    transfers: int = 2
    """A checkpoint crosses the network twice: source to store, store to target."""
    network_kwh_per_gb: float = 0.005
    """Per transfer. Published figures lie between 0.001 and 0.06."""
    egress_micro_per_gb: int = 80_000
    """Per transfer: about the list price of cloud egress, USD 0.09 per GB."""

    def __post_init__(self) -> None:
        # These two are what guarantees that a move is never undone under the same outlook.
        assert 0 <= self.theta < 1
        assert min(self.network_kwh_per_gb, self.egress_micro_per_gb, self.transfers) >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    version: str = POLICY_VERSION
    weights: Weights = field(default_factory=Weights)
    reference: Reference = field(default_factory=Reference)
    green: GreenRules = field(default_factory=GreenRules)
    move: MoveRule = field(default_factory=MoveRule)
    tier_policy: TierPolicy = TierPolicy.STRICT
    tier_handicaps: tuple[float, float, float] = (0.0, 0.05, 0.10)
    """Of recycler, data centre and gamer, in units of the score; only under `handicap`."""
    backend: str = "process"
    """What a node must offer to run a workload."""
    start_allowance: timedelta = timedelta(minutes=2)
    """Between the decision and the program's first step; counts against the deadline."""
    horizon: timedelta = timedelta(hours=48)
    """How far ahead a move looks: no forecast is worth more."""
    hours_low_ratio: float = 0.8
    hours_high_ratio: float = 1.25
    """Range around the owner's estimate of the run time."""
    max_candidates: int = 20
    """How many candidates, and how many rejected nodes, a decision keeps."""

    def handicap(self, tier: Tier) -> float:
        return self.tier_handicaps[tier - 1] if self.tier_policy is TierPolicy.HANDICAP else 0.0


DEFAULT_POLICY = Policy()
