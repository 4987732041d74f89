"""How often a key may call: the generic cell rate algorithm, which needs one number per caller and allows an honest burst.

Counted in each API process by itself: with N processes a caller may reach N times the limit.
"""

from dataclasses import dataclass

MAX_CALLERS = 100_000


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    remaining: int
    retry_after_s: float
    """0 when allowed."""
    reset_s: float
    """Until the whole quota is there again."""


def decide(earliest_s: float | None, now_s: float, quota: int, window_s: float) -> tuple[Verdict, float]:
    """The verdict on one call, and the caller's new theoretical arrival time. `quota` calls per `window_s`, even all at once."""
    step = window_s / quota
    arrival = max(earliest_s if earliest_s is not None else now_s, now_s)
    ahead = arrival - now_s
    if ahead + step > window_s + 1e-9:
        return Verdict(False, 0, ahead + step - window_s, ahead), arrival
    return Verdict(True, int((window_s - ahead - step) / step + 1e-9), 0.0, ahead + step), arrival + step


class RateLimiter:
    """Remembers at most `max_callers`, those who called last."""

    def __init__(self, quota: int, window_s: float = 60.0, max_callers: int = MAX_CALLERS) -> None:
        self.quota, self.window_s, self._max_callers = quota, window_s, max_callers
        self._arrivals: dict[str, float] = {}

    def take(self, caller: str, now_s: float) -> Verdict:
        verdict, arrival = decide(self._arrivals.pop(caller, None), now_s, self.quota, self.window_s)
        self._arrivals[caller] = arrival
        if len(self._arrivals) > self._max_callers:
            # The one that has been silent the longest: a dict keeps the order of insertion.
            del self._arrivals[next(iter(self._arrivals))]
        return verdict

    def headers(self, verdict: Verdict) -> dict[str, str]:
        """RateLimit-Policy and RateLimit as in draft-ietf-httpapi-ratelimit-headers, and Retry-After when refused."""
        headers = {
            "RateLimit-Policy": f'"key";q={self.quota};w={self.window_s:.0f}',
            "RateLimit": f'"key";r={verdict.remaining};t={-int(-verdict.reset_s // 1)}',
        }
        if not verdict.allowed:
            headers["Retry-After"] = str(max(1, -int(-verdict.retry_after_s // 1)))
        return headers
