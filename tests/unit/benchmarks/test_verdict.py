"""When a run counts as finished exactly once."""

from typing import Any

import pytest

from benchmarks.exactly_once import EXPECTED, judge

GOOD: dict[str, Any] = {"id": "w1", **EXPECTED}


def test_one_of_everything_is_exact() -> None:
    verdict = judge([GOOD], {"w1": 1}, 1, [])
    assert (verdict.exact, verdict.problems) == (1, ())


@pytest.mark.parametrize(
    "change",
    [
        {"state": "running"},
        {"statements": 0},
        {"charges": 2},
        {"receipts": 0},
        {"runs": 2},
        {"other_placements": 1},
        {"holds_ended": 0},
    ],
)
def test_each_deviation_is_a_problem(change: dict[str, Any]) -> None:
    verdict = judge([GOOD | change], {"w1": 1}, 1, [])
    assert verdict.exact == 0
    assert next(iter(change)) in verdict.problems[0]


@pytest.mark.parametrize("runs", [{}, {"w1": 2}])
def test_a_program_that_ran_twice_or_never_is_a_problem(runs: dict[str, int]) -> None:
    assert judge([GOOD], runs, 1, []).problems


def test_a_lost_workload_and_an_unsound_ledger_are_problems() -> None:
    verdict = judge([GOOD], {"w1": 1}, 2, ["escrow is not empty"])
    assert verdict.problems == ("ledger: escrow is not empty", "1 workloads are there, 2 were acknowledged")
