"""How long to wait before trying again."""

import random

FIRST_S = 0.25
LONGEST_S = 30.0


def delay_s(failures: int, at_least_s: float = 0.0) -> float:
    """After that many failures in a row: doubling from a quarter of a second to 30 s, jittered to between half of it and all of it,
    so that a fleet does not come back in step. `at_least_s` is what the server asked for."""
    longest = min(LONGEST_S, FIRST_S * 2 ** min(failures - 1, 16))
    return max(at_least_s, longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
