"""Laws of GPU indices and epochs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridbroker.providers.lease import MAX_GPUS_PER_NODE, StaleEpoch, check_epoch, free_gpus


@given(st.integers(1, MAX_GPUS_PER_NODE), st.sets(st.integers(0, MAX_GPUS_PER_NODE - 1)))
def test_free_and_taken_divide_the_node(gpu_count, taken):
    free = free_gpus(gpu_count, taken)
    assert not set(free) & taken
    assert set(free) | {index for index in taken if index < gpu_count} == set(range(gpu_count))
    assert list(free) == sorted(free)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_epochs_never_fall(given_epoch, known):
    if given_epoch >= known:
        check_epoch(given_epoch, known)
    else:
        with pytest.raises(StaleEpoch, match=str(known)):
            check_epoch(given_epoch, known)
