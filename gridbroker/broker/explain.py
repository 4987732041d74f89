"""An assessment in words and sums, line by line, for people."""

from collections.abc import Iterator

from gridbroker.broker.migration import Alternative, Assessment, MoveReason
from gridbroker.broker.stretch import Stretch
from gridbroker.core.units import MICRO, energy_kwh

_BECAUSE = {
    MoveReason.PAYS: "the saving exceeds the cost and the margin, and emissions fall",
    MoveReason.PROMISE_BROKEN: "its place no longer keeps what was asked for",
    MoveReason.NOT_CHECKPOINTABLE: "it cannot be checkpointed",
    MoveReason.PLACE_UNKNOWN: "too little is known of where it runs",
    MoveReason.NO_ALTERNATIVE: "no other node may take it",
    MoveReason.TOO_MANY_MOVES: "it has moved often enough",
    MoveReason.WITHIN_THRESHOLD: "the best alternative is not enough better",
    MoveReason.DWELLING: "it has only just arrived",
    MoveReason.ALMOST_DONE: "it is almost done",
    MoveReason.WOULD_EMIT_MORE: "moving would emit more",
    MoveReason.DOES_NOT_PAY: "the saving does not exceed the cost and the margin",
}


def move_lines(assessment: Assessment) -> tuple[str, ...]:
    """The sum behind a decision to move or stay, the verdict last."""
    verdict = f"{assessment.decision.upper()}: {_BECAUSE[assessment.reason]} ({assessment.reason})"
    return (*_facts(assessment), *(_sum(assessment.best) if assessment.best else ()), verdict)


def _facts(one: Assessment) -> Iterator[str]:
    yield (
        f"{one.node_name} ({one.zone}), {one.remaining_hours:.2f} h left, here for {one.dwelt_hours:.2f} h"
        f" (at least {one.min_dwell_hours:.2f} h), {one.moves} of at most {one.max_moves} moves made"
    )
    if one.broken:
        yield f"No longer kept here: {', '.join(one.broken)}"
    if one.best is not None and one.current_rate is not None and one.degradation is not None:
        target = one.best.target
        yield (
            f"Rate now {one.current_rate:.3f}, best alternative {target.node_name} ({target.zone}) {one.best.rate:.3f}:"
            f" {one.degradation:+.0%}, alarm {'on' if one.alarm else 'off'}"
        )


def _sum(best: Alternative) -> Iterator[str]:
    time, cost = best.cost.time, best.cost
    yield _line("stay", best.stay)
    yield _line("go", best.go)
    yield _line("saving", best.saving)
    yield _line(f"hold the source {time.source_held_h * 60:.1f} min", cost.source_held)
    yield _line(f"target waits {time.downtime_h * 60:.1f} min", cost.target_waiting)
    yield _line(f"redo {cost.lost_work.hours * 60:.1f} min of lost work", cost.lost_work)
    yield _line("transfer and egress", cost.transfer)
    yield _line("cost of moving", cost.total)
    yield (
        f"{best.saving.score_h:.3f} saving - {cost.total.score_h:.3f} cost - {best.margin_score_h:.3f} margin"
        f" = {best.net_score_h:+.3f} score-hours"
    )


def _line(name: str, one: Stretch) -> str:
    electricity = "no price" if one.electricity_micro is None else f"EUR {one.electricity_micro / MICRO:.2f}"
    return (
        f"{name}: {one.hours:.2f} h, {energy_kwh(one.energy_mj):.3f} kWh, {one.emissions_mg / 1000:.0f} g,"
        f" EUR {one.price_micro / MICRO:.2f} (electricity {electricity}), {one.score_h:.3f} score-hours"
    )
