"""What is known after a rail was asked to move money. Not knowing is an outcome of its own and never a failure."""

from dataclasses import dataclass
from enum import StrEnum

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0


class Verdict(StrEnum):
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    """The rail has it and will finish it: ask again with the same key."""
    DECLINED = "declined"
    """Definitely not done, and asking again will not change that."""
    UNKNOWN = "unknown"
    """Perhaps done: only the same key may be used again."""


@dataclass(frozen=True, slots=True)
class RailResult:
    external_id: str
    confirmed: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    external_id: str | None = None
    reason: str | None = None


def retry_in_s(attempts: int) -> float:
    """Seconds until the next try: doubling from 1 s, at most 5 min, for ever; money is never given up on."""
    return min(FIRST_RETRY_S * 2 ** min(max(attempts - 1, 0), 16), LONGEST_RETRY_S)
