"""What a developer sends, and how it becomes a WorkloadSpec; every refusal names the field by a JSON pointer."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from gridbroker.broker.workload import WorkloadSpec
from gridbroker.core.errors import FieldError, Invalid, pointer
from gridbroker.core.money import Currency, parse_micro
from gridbroker.providers.gpu import UnknownGpuModel, find

MAX_BUDGET_MICRO = 1_000_000 * 1_000_000
MAX_DEADLINE = timedelta(days=3660)
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Zone = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class InvalidWorkload(Invalid):
    code, title = "invalid_workload", "The workload cannot be run as described"


class Budget(msgspec.Struct, forbid_unknown_fields=True):
    amount: Annotated[str, msgspec.Meta(max_length=32)]
    """Decimal string, for example "12.50"."""
    currency: str


class CheckpointTerms(msgspec.Struct, forbid_unknown_fields=True):
    """How the program honours the checkpoint contract. Without this block a workload is never moved, only restarted."""

    signal: bool = False
    """It traps SIGUSR1 and checkpoints; never sent otherwise."""
    interval_s: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    size_mib: Annotated[int, msgspec.Meta(ge=0, le=4_000_000)] = 1
    grace_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 30


class WorkloadBody(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    budget: Budget
    command: Annotated[list[Annotated[str, msgspec.Meta(max_length=4096)]], msgspec.Meta(max_length=256)] | None = None
    image: Annotated[str, msgspec.Meta(min_length=1, max_length=512)] | None = None
    gpu_model: Short | None = None
    gpus: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    vram_mib: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    expected_hours: Annotated[float, msgspec.Meta(gt=0, le=2000)] = 1.0
    deadline_at: datetime | None = None
    green_only: bool = False
    max_intensity_g_per_kwh: Annotated[float, msgspec.Meta(gt=0, le=5000)] | None = None
    zones: Annotated[list[Zone], msgspec.Meta(max_length=50)] = msgspec.field(default_factory=list[str])
    home_zone: Zone | None = None
    """Where it would run without us: the headline baseline. Default: the organisation's, else DE."""
    environment: Annotated[dict[str, Annotated[str, msgspec.Meta(max_length=8192)]], msgspec.Meta(max_length=100)] = msgspec.field(
        default_factory=dict[str, str]
    )
    checkpoint: CheckpointTerms | None = None
    load: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.7
    max_restarts: Annotated[int, msgspec.Meta(ge=0, le=10)] = 3
    memory_limit_mib: Annotated[int, msgspec.Meta(ge=16, le=4_000_000)] | None = None


def to_spec(body: WorkloadBody, *, known_zones: frozenset[str], home_zone: str, now: datetime) -> WorkloadSpec:
    """Raises InvalidWorkload with every field that is wrong, not only the first."""
    problems: list[FieldError] = []
    budget_micro = _budget(body.budget, problems)
    model = _model(body.gpu_model, problems)
    _program(body, problems)
    _zones(body, known_zones, problems)
    _deadline(body.deadline_at, now, problems)
    problems += [
        FieldError(pointer("environment", name), "not a variable name, or reserved (GRIDBROKER_*)")
        for name in body.environment
        if not _VARIABLE.fullmatch(name) or name.startswith("GRIDBROKER_")
    ]
    if problems:
        raise InvalidWorkload("; ".join(f"{one.pointer}: {one.detail}" for one in problems), errors=problems)
    terms = body.checkpoint
    return WorkloadSpec(
        name=body.name,
        command=tuple(body.command or ()),
        image=body.image,
        gpu_model=model,
        gpu_count=body.gpus,
        vram_mib=body.vram_mib,
        expected_hours=body.expected_hours,
        budget_micro=budget_micro,
        deadline_at=body.deadline_at,
        green_only=body.green_only,
        max_intensity_g_per_kwh=body.max_intensity_g_per_kwh,
        allowed_zones=tuple(body.zones),
        home_zone=body.home_zone or home_zone,
        environment=dict(body.environment),
        checkpoint=terms is not None,
        checkpoint_signal=terms.signal if terms else False,
        checkpoint_interval_s=terms.interval_s if terms else 0,
        checkpoint_mib=terms.size_mib if terms else 1,
        grace_s=terms.grace_s if terms else 30,
        load=body.load,
        max_restarts=body.max_restarts,
        memory_limit_mib=body.memory_limit_mib,
    )


def _budget(budget: Budget, problems: list[FieldError]) -> int:
    if budget.currency not in set(Currency):
        problems.append(FieldError("/budget/currency", f"{budget.currency!r} is not one of {', '.join(Currency)}"))
    try:
        amount_micro = parse_micro(budget.amount)
    except ValueError as error:
        problems.append(FieldError("/budget/amount", str(error)))
        return 0
    if not 0 < amount_micro <= MAX_BUDGET_MICRO:
        problems.append(FieldError("/budget/amount", "must be above 0 and at most 1000000"))
    return amount_micro


def _model(name: str | None, problems: list[FieldError]) -> str | None:
    if name is None:
        return None
    try:
        return find(name).key
    except UnknownGpuModel as error:
        problems.append(FieldError("/gpu_model", error.detail))
        return None


def _program(body: WorkloadBody, problems: list[FieldError]) -> None:
    if (body.command is None) == (body.image is None):
        problems.append(FieldError("/command", "give exactly one of command and image"))
    elif body.command is not None and (not body.command or not body.command[0]):
        problems.append(FieldError("/command", "must name a program"))
    for place, text in _texts(body):
        if "\0" in text:
            problems.append(FieldError(place, "must not contain a null character"))


def _texts(body: WorkloadBody) -> Iterator[tuple[str, str]]:
    """Every text that is kept as it was sent, with its place."""
    yield "/name", body.name
    yield "/image", body.image or ""
    yield from ((pointer("command", index), part) for index, part in enumerate(body.command or ()))
    yield from ((pointer("environment", name), text) for name, text in body.environment.items())


def _zones(body: WorkloadBody, known: frozenset[str], problems: list[FieldError]) -> None:
    choices = ", ".join(sorted(known))
    for index, zone in enumerate(body.zones):
        if zone not in known:
            problems.append(FieldError(f"/zones/{index}", f"{zone!r} is not one of {choices}"))
    if body.home_zone is not None and body.home_zone not in known:
        problems.append(FieldError("/home_zone", f"{body.home_zone!r} is not one of {choices}"))


def _deadline(deadline_at: datetime | None, now: datetime, problems: list[FieldError]) -> None:
    if deadline_at is None:
        return
    if deadline_at.tzinfo is None:
        problems.append(FieldError("/deadline_at", "must carry a UTC offset, for example 2026-12-01T18:00:00Z"))
    elif deadline_at <= now:
        problems.append(FieldError("/deadline_at", f"lies in the past; it is {now.isoformat(timespec='seconds')}"))
    elif deadline_at > now + MAX_DEADLINE:
        problems.append(FieldError("/deadline_at", "lies more than ten years ahead"))
