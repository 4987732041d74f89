from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from gridbroker.metering.conservation import Attributed, account
from gridbroker.metering.energy import EnergyCurve, Knot
from gridbroker.node_agent.protocol import EnergyKind

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000
CURVE = EnergyCurve(
    (Knot(NOON_US, 0, EnergyKind.MEASURED), Knot(NOON_US + 100_000_000, 1000, EnergyKind.MEASURED)),
)
A, B = UUID(int=1), UUID(int=2)


def at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


def test_what_nobody_held_is_unallocated():
    result = account(CURVE, at(0), at(100), [Attributed(B, at(60), at(70), 100), Attributed(A, at(10), at(50), 400)])
    assert (result.measured_mj, result.attributed_mj, result.unallocated_mj) == (1000, {A: 400, B: 100}, 500)
    assert result.difference_mj == 0


def test_a_wrong_share_shows():
    assert account(CURVE, at(0), at(100), [Attributed(A, at(10), at(50), 399)]).difference_mj == 1


def test_two_subjects_cannot_hold_one_gpu_at_once():
    with pytest.raises(ValueError, match="overlaps"):
        account(CURVE, at(0), at(100), [Attributed(A, at(10), at(50), 400), Attributed(B, at(49), at(60), 110)])


def test_spans_stay_inside_the_account():
    with pytest.raises(ValueError, match="leaves"):
        account(CURVE, at(0), at(40), [Attributed(A, at(10), at(50), 400)])
