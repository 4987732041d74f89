"""Nothing metered is lost and nothing is counted twice: what subjects were given plus what nobody used is what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gridbroker.metering.energy import EnergyCurve


@dataclass(frozen=True, slots=True)
class Attributed:
    """Energy of one GPU that a subject was given for a span in which it held the GPU alone."""

    subject_id: UUID
    from_at: datetime
    to_at: datetime
    energy_mj: int


@dataclass(frozen=True, slots=True)
class GpuAccount:
    """One GPU's energy over a span, by who used it."""

    measured_mj: int
    attributed_mj: dict[UUID, int]
    """By subject."""
    unallocated_mj: int
    """While no subject held the GPU. Nobody is billed for it; it is the provider's idle energy."""

    @property
    def difference_mj(self) -> int:
        """Zero, or the books are wrong: later samples changed a span that was attributed already."""
        return self.measured_mj - sum(self.attributed_mj.values()) - self.unallocated_mj


def account(curve: EnergyCurve, start: datetime, end: datetime, attributed: Sequence[Attributed]) -> GpuAccount:
    """Balance the spans given to subjects against the curve over [start, end).

    Raises ValueError when a span leaves [start, end) or overlaps another: a GPU is held by one subject at a time.
    """
    by_subject: dict[UUID, int] = {}
    unallocated_mj, reached = 0, start
    for span in sorted(attributed, key=lambda span: (span.from_at, span.to_at)):
        if not reached <= span.from_at <= span.to_at <= end:
            raise ValueError(f"the span from {span.from_at} to {span.to_at} overlaps another or leaves the account")
        unallocated_mj += curve.energy_mj(reached, span.from_at)
        by_subject[span.subject_id] = by_subject.get(span.subject_id, 0) + span.energy_mj
        reached = span.to_at
    return GpuAccount(curve.energy_mj(start, end), by_subject, unallocated_mj + curve.energy_mj(reached, end))
