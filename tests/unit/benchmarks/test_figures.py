"""The arithmetic behind the figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import due_s, numbers_of, quantile, spread

SAMPLES = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


def test_of_a_hundred_values_the_99th_is_the_99th() -> None:
    figures = spread([float(value) for value in range(100, 0, -1)])
    assert (figures.count, figures.p50, figures.p95, figures.p99, figures.max) == (100, 50, 95, 99, 100)


def test_a_small_sample_shows_its_worst_value() -> None:
    assert spread([1.0, 2.0, 9.0]).p99 == 9.0


def test_no_figure_without_values() -> None:
    with pytest.raises(ValueError, match="no values"):
        spread([])


@given(SAMPLES, st.floats(0.01, 1))
def test_a_quantile_covers_its_share_and_no_smaller_value_does(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) < share * len(ordered)


@given(st.integers(1, 30), st.integers(0, 300))
def test_clients_share_the_schedule_without_gap_or_overlap(clients: int, total: int) -> None:
    sent = sorted(number for client in range(clients) for number in numbers_of(client, clients, total))
    assert sent == list(range(total))


def test_the_schedule_does_not_drift() -> None:
    assert due_s(2999, 100.0) == pytest.approx(29.99)
