"""Whether a node can be trusted right now: its health, its clock, and the checks that each heartbeat answers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gridbroker.core.errors import FieldError, Invalid
from gridbroker.node_agent.protocol import GpuStatus, Heartbeat
from gridbroker.providers.node import Health, NodeFacts

MAX_SKEW_S = 300.0
"""A wall clock further off than this is refused: samples and token expiry would mean nothing."""
WARN_SKEW_S = 5.0
WARN_TEMPERATURE_C = 90.0
WARN_BACKLOG = 1_000
MAX_BACKLOG = 2**31 - 1


class ClockSkew(Invalid):
    code, title = "clock_skew", "The sender's clock is wrong"


class CheckKind(StrEnum):
    HEARTBEAT = "heartbeat"
    CLOCK = "clock"
    GPUS = "gpus"
    TEMPERATURE = "temperature"
    SPOOL = "spool"


@dataclass(frozen=True, slots=True)
class Check:
    kind: CheckKind
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCheck:
    """The outcome of a check from `at` (wall time) on, until a later one of its kind."""

    kind: CheckKind
    ok: bool
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node as its owner sees it: the facts that routing uses, and how it does."""

    facts: NodeFacts
    draining: bool
    last_seen_at: datetime | None
    """Wall time."""
    utilisation: float
    spool_backlog: int
    failing: frozenset[str] | None
    """Kinds of checks that fail; None before the first heartbeat."""
    created_at: datetime


def next_health(current: Health, *, silent_s: float | None, draining: bool, lost_after_s: float) -> Health:
    """Health from the age of the last heartbeat (None: there was none). Only a heartbeat brings a lost node back."""
    if silent_s is None:
        return Health.PENDING
    if silent_s > lost_after_s:
        return Health.LOST
    if current in (Health.PENDING, Health.LOST):
        return current
    return after_heartbeat(draining=draining)


def after_heartbeat(*, draining: bool) -> Health:
    return Health.DRAINING if draining else Health.HEALTHY


def clock_skew_s(sent_at: str, now: datetime) -> float:
    """Seconds that the sender's wall clock is ahead of ours (negative: behind). Raises Invalid, and ClockSkew beyond MAX_SKEW_S."""
    skew_s = (_parse(sent_at) - now).total_seconds()
    if abs(skew_s) > MAX_SKEW_S:
        direction = "ahead" if skew_s > 0 else "behind"
        detail = f"This machine's clock is {abs(skew_s):.0f} s {direction} of ours, {MAX_SKEW_S:.0f} s are allowed. Set it by NTP."
        raise ClockSkew(detail, errors=[FieldError("/sent_at", f"{skew_s:+.0f} s from {now.isoformat()}")])
    return skew_s


def _parse(sent_at: str) -> datetime:
    try:
        at = datetime.fromisoformat(sent_at)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Invalid("sent_at must be an RFC 3339 time with its offset.", errors=[FieldError("/sent_at", "not an RFC 3339 time")])
    return at


def examine(beat: Heartbeat, *, gpu_count: int, skew_s: float) -> tuple[Check, ...]:
    """Every check that a heartbeat answers. Raises Invalid for values that cannot be."""
    _refuse_impossible(beat)
    return (
        Check(CheckKind.HEARTBEAT, True, "heartbeats arrive"),
        Check(CheckKind.CLOCK, abs(skew_s) <= WARN_SKEW_S, f"clock is {skew_s:+.1f} s from the server's"),
        _check_gpus(beat.gpus, gpu_count),
        _check_temperature(beat.gpus),
        Check(CheckKind.SPOOL, beat.spool_backlog <= WARN_BACKLOG, f"{beat.spool_backlog} messages wait to be sent"),
    )


def changed(checks: Sequence[Check], failing: Collection[str] | None) -> list[Check]:
    """The checks whose outcome is not what `failing` says; all of them when nothing is known yet."""
    if failing is None:
        return list(checks)
    return [check for check in checks if check.ok == (check.kind in failing)]


def failing_kinds(checks: Sequence[Check]) -> list[str]:
    return sorted(check.kind for check in checks if not check.ok)


def mean_utilisation(gpus: Sequence[GpuStatus]) -> float:
    return sum(gpu.utilisation for gpu in gpus) / len(gpus) if gpus else 0.0


def _refuse_impossible(beat: Heartbeat) -> None:
    wrong: Mapping[str, bool] = {
        "/spool_backlog": not 0 <= beat.spool_backlog <= MAX_BACKLOG,
        **{f"/gpus/{i}/utilisation": not 0 <= gpu.utilisation <= 1 for i, gpu in enumerate(beat.gpus)},
        **{f"/gpus/{i}/power_w": not 0 <= gpu.power_w < 10_000 for i, gpu in enumerate(beat.gpus)},
    }
    errors = [FieldError(pointer, "out of range") for pointer, is_wrong in wrong.items() if is_wrong]
    if errors:
        raise Invalid(f"{errors[0].pointer} is out of range.", errors=errors)


def _check_gpus(gpus: Sequence[GpuStatus], gpu_count: int) -> Check:
    seen = sorted(gpu.index for gpu in gpus)
    if seen == list(range(gpu_count)):
        return Check(CheckKind.GPUS, True, f"all {gpu_count} GPUs report")
    missing = sorted(set(range(gpu_count)) - set(seen))
    return Check(CheckKind.GPUS, False, f"registered {gpu_count} GPUs, {len(seen)} report; missing indices: {missing}")


def _check_temperature(gpus: Sequence[GpuStatus]) -> Check:
    hottest_c = max((gpu.temperature_c for gpu in gpus if gpu.temperature_c is not None), default=None)
    if hottest_c is None:
        return Check(CheckKind.TEMPERATURE, True, "no temperature sensor")
    return Check(CheckKind.TEMPERATURE, hottest_c < WARN_TEMPERATURE_C, f"hottest GPU at {hottest_c:.0f} C")
