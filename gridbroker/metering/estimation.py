"""Energy of a run that has not happened yet, as a range.

Expected power is idle + load x (TDP - idle). The range around it is the spread that was measured over 1,858 configurations of
language-model inference on H100 (ML.ENERGY leaderboard, version 3): 10th percentile, median and 90th percentile of power stand at
0.54, 0.71 and 0.89 of TDP. The range keeps those proportions and never leaves idle to TDP. Real runs fall outside it about one
time in five; a utilisation percentage is not a power share and must not be passed as `load`.
"""

from dataclasses import dataclass

from gridbroker.core.errors import FieldError, Invalid
from gridbroker.core.units import energy_mj

P10_OF_TDP = 0.54
MEDIAN_OF_TDP = 0.71
P90_OF_TDP = 0.89
BASIS = "idle + load x (TDP - idle); range p10 to p90 of measured load factors (ML.ENERGY v3, H100)"

_SECONDS_PER_HOUR = 3600


class BadEstimate(Invalid):
    code, title = "invalid_estimate", "No energy can be estimated from these figures"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyEstimate:
    """IT energy at the GPUs, mJ; low <= expected <= high."""

    low_mj: int
    expected_mj: int
    high_mj: int
    basis: str = BASIS


def estimate_energy(*, idle_w: float, tdp_w: float, load: float, gpu_count: int, hours: float) -> EnergyEstimate:
    """Energy of `gpu_count` GPUs over `hours` at `load`, the share (0 to 1) of the range from idle to TDP. Raises BadEstimate."""
    _check(idle_w, tdp_w, load, gpu_count, hours)
    expected_w = idle_w + load * (tdp_w - idle_w)
    low_w = max(idle_w, expected_w * P10_OF_TDP / MEDIAN_OF_TDP)
    high_w = min(tdp_w, expected_w * P90_OF_TDP / MEDIAN_OF_TDP)
    duration_s = hours * _SECONDS_PER_HOUR * gpu_count
    return EnergyEstimate(
        low_mj=energy_mj(low_w, duration_s), expected_mj=energy_mj(expected_w, duration_s), high_mj=energy_mj(high_w, duration_s)
    )


def _check(idle_w: float, tdp_w: float, load: float, gpu_count: int, hours: float) -> None:
    """Comparisons are written so that NaN and infinity fail them."""
    problems: list[FieldError] = []
    if not 0 <= idle_w <= tdp_w < float("inf"):
        problems.append(FieldError("/idle_w", "between 0 and the TDP"))
    if not 0 <= load <= 1:
        problems.append(FieldError("/load", "a share between 0 and 1"))
    if gpu_count < 1:
        problems.append(FieldError("/gpu_count", "at least 1"))
    if not 0 < hours < float("inf"):
        problems.append(FieldError("/hours", "more than 0"))
    if problems:
        raise BadEstimate("; ".join(f"{problem.pointer[1:]}: {problem.detail}" for problem in problems), errors=problems)
