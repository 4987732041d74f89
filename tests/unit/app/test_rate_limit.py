"""The generic cell rate algorithm: an honest burst, then one call per step, and never more than the quota in any window."""

from hypothesis import given
from hypothesis import strategies as st

from gridbroker.app.rate_limit import RateLimiter, decide

QUOTA, WINDOW_S = 10, 60.0
STEP_S = WINDOW_S / QUOTA


def test_a_burst_of_the_quota_then_one_call_per_step():
    limiter = RateLimiter(QUOTA, WINDOW_S)
    burst = [limiter.take("a", 0.0) for _ in range(QUOTA + 1)]
    assert [verdict.allowed for verdict in burst] == [True] * QUOTA + [False]
    assert [verdict.remaining for verdict in burst] == [*range(QUOTA - 1, -1, -1), 0]
    assert burst[-1].retry_after_s == STEP_S
    assert not limiter.take("a", STEP_S - 0.01).allowed
    assert limiter.take("a", STEP_S).allowed
    assert not limiter.take("a", STEP_S).allowed


def test_the_whole_quota_is_there_again_after_the_reset():
    limiter = RateLimiter(QUOTA, WINDOW_S)
    for _ in range(QUOTA):
        verdict = limiter.take("a", 5.0)
    assert verdict.reset_s == WINDOW_S
    assert limiter.take("a", 5.0 + WINDOW_S).remaining == QUOTA - 1


def test_callers_do_not_share():
    limiter = RateLimiter(1, WINDOW_S)
    assert limiter.take("a", 0.0).allowed and limiter.take("b", 0.0).allowed
    assert not limiter.take("a", 0.0).allowed


def test_refused_calls_cost_nothing():
    limiter = RateLimiter(1, WINDOW_S)
    limiter.take("a", 0.0)
    for _ in range(100):
        assert not limiter.take("a", 30.0).allowed
    assert limiter.take("a", WINDOW_S).allowed


def test_it_remembers_no_more_callers_than_it_may_and_forgets_the_quietest():
    limiter = RateLimiter(1, WINDOW_S, max_callers=3)
    for name in ("a", "b", "c", "a", "d"):
        limiter.take(name, 0.0)
    assert not limiter.take("a", 0.0).allowed, "it called after b"
    assert limiter.take("b", 0.0).allowed, "the quietest was forgotten"


def test_the_headers_say_policy_and_state():
    limiter = RateLimiter(2, WINDOW_S)
    first = limiter.headers(limiter.take("a", 0.0))
    assert first == {"RateLimit-Policy": '"key";q=2;w=60', "RateLimit": '"key";r=1;t=30'}
    limiter.take("a", 0.0)
    refused = limiter.headers(limiter.take("a", 0.5))
    assert refused["RateLimit"] == '"key";r=0;t=60' and refused["Retry-After"] == "30"


times = st.lists(st.floats(0, 500, allow_nan=False), min_size=1, max_size=80).map(sorted)


@given(times, st.integers(1, 20))
def test_no_window_ever_sees_more_than_twice_the_quota_and_the_long_run_keeps_the_rate(calls, quota):
    arrival, allowed = None, []
    for now_s in calls:
        verdict, arrival = decide(arrival, now_s, quota, WINDOW_S)
        assert verdict.remaining >= 0 and verdict.retry_after_s >= 0
        if verdict.allowed:
            allowed.append(now_s)
    span_s = calls[-1] - calls[0]
    assert len(allowed) <= quota + quota * span_s / WINDOW_S + 1e-6
    for start in allowed:
        assert sum(start <= at < start + WINDOW_S for at in allowed) <= 2 * quota


@given(times, st.integers(1, 20))
def test_whoever_waits_as_told_is_let_in(calls, quota):
    arrival = None
    for now_s in calls:
        verdict, arrival = decide(arrival, now_s, quota, WINDOW_S)
        if not verdict.allowed:
            assert decide(arrival, now_s + verdict.retry_after_s, quota, WINDOW_S)[0].allowed
            assert not decide(arrival, now_s + verdict.retry_after_s * 0.99 - 1e-3, quota, WINDOW_S)[0].allowed
