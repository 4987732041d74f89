"""One reading of one GPU, and the checks that a batch of them must pass before any is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gridbroker.core.errors import FieldError, Invalid
from gridbroker.node_agent.protocol import MAX_SAMPLES_PER_BATCH, EnergyKind, Sample, SampleBatch

MAX_POWER_W = 1500.0
"""Per GPU. The hottest one of the catalogue (GB300, MI355X) is rated 1400 W."""
MAX_AHEAD = timedelta(minutes=5)
MAX_AGE = timedelta(days=90)
"""How long raw samples are kept: older ones could never be used."""
MAX_BOOT_ID_CHARS = 64
MAX_COUNTER = 2**63 - 1
MAX_REPORTED_ERRORS = 50
"""So that an answer to a thousand wrong samples stays readable."""

_WEAKNESS = {EnergyKind.MEASURED: 0, EnergyKind.ESTIMATED: 1, EnergyKind.MODELLED: 2}


class BadSamples(Invalid):
    code, title = "invalid_samples", "The batch holds samples that cannot be right; none was kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One accepted reading of one GPU."""

    boot_id: str
    """One run of the agent; its counters are comparable with each other and with no other run's."""
    gpu_index: int
    seq: int
    at: datetime
    energy_mj: int
    """The GPU's energy counter; never falls within one boot."""
    power_w: float
    utilisation: float
    """0 to 1."""
    kind: EnergyKind


def weaker(one: EnergyKind, other: EnergyKind) -> EnergyKind:
    """Of two kinds the one that claims less: measured, then estimated, then modelled."""
    return max(one, other, key=_WEAKNESS.__getitem__)


def check_batch(batch: SampleBatch, *, gpu_count: int, now: datetime, max_ahead: timedelta = MAX_AHEAD) -> tuple[Reading, ...]:
    """The readings of a batch in the order sent. Raises BadSamples, naming each wrong place, if any of them cannot be right.

    Args:
        gpu_count: GPUs of the node; indices are below it.
        now: grid time.
        max_ahead: how far a node's clock may run before ours, in grid time.
    """
    problems = _batch_problems(batch)
    readings: list[Reading] = []
    for position, sample in enumerate(batch.samples[:MAX_SAMPLES_PER_BATCH]):
        at = _parse_time(sample.at)
        wrong = _sample_problems(sample, at, gpu_count, now, max_ahead)
        problems += [FieldError(f"/samples/{position}/{name}", detail) for name, detail in wrong]
        if at is not None and not wrong:
            readings.append(_reading(batch.boot_id, sample, at))
    if problems:
        raise BadSamples(f"{len(problems)} values of this batch are out of range.", errors=problems[:MAX_REPORTED_ERRORS])
    return tuple(readings)


def _batch_problems(batch: SampleBatch) -> list[FieldError]:
    problems: list[FieldError] = []
    if not 0 < len(batch.boot_id) <= MAX_BOOT_ID_CHARS:
        problems.append(FieldError("/boot_id", f"1 to {MAX_BOOT_ID_CHARS} characters"))
    if len(batch.samples) > MAX_SAMPLES_PER_BATCH:
        problems.append(FieldError("/samples", f"at most {MAX_SAMPLES_PER_BATCH} samples per batch"))
    return problems


def _sample_problems(
    sample: Sample, at: datetime | None, gpu_count: int, now: datetime, max_ahead: timedelta
) -> Sequence[tuple[str, str]]:
    """Names and details of wrong fields. Comparisons are written so that NaN fails them."""
    problems: list[tuple[str, str]] = []
    if not 1 <= sample.seq <= MAX_COUNTER:
        problems.append(("seq", "counts up from 1"))
    if not 0 <= sample.gpu_index < gpu_count:
        problems.append(("gpu_index", f"this node has GPUs 0 to {gpu_count - 1}"))
    if not 0 <= sample.energy_mj <= MAX_COUNTER:
        problems.append(("energy_mj", "the counter is not negative and fits 63 bits"))
    if not 0 <= sample.power_w <= MAX_POWER_W:
        problems.append(("power_w", f"between 0 and {MAX_POWER_W:.0f} W"))
    if not 0 <= sample.utilisation <= 1:
        problems.append(("utilisation", "a share between 0 and 1"))
    if (detail := _time_problem(at, now, max_ahead)) is not None:
        problems.append(("at", detail))
    return problems


def _time_problem(at: datetime | None, now: datetime, max_ahead: timedelta) -> str | None:
    if at is None:
        return "not an RFC 3339 time with an offset"
    if at > now + max_ahead:
        return f"{(at - now).total_seconds():.0f} s in the future; set the node's clock"
    if at < now - MAX_AGE:
        return f"older than {MAX_AGE.days} days"
    return None


def _parse_time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):  # the latter: in UTC it would lie before the first year or after the last
        return None


def _reading(boot_id: str, sample: Sample, at: datetime) -> Reading:
    return Reading(
        boot_id=boot_id,
        gpu_index=sample.gpu_index,
        seq=sample.seq,
        at=at,
        energy_mj=sample.energy_mj,
        power_w=sample.power_w,
        utilisation=sample.utilisation,
        kind=sample.kind,
    )
