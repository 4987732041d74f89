from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gridbroker.grid.knowledge import Revision, key, news, origin
from gridbroker.grid.signal import Averaging, Quality, Scope, Signal, SignalKind

SIGNAL = Signal(
    zone="ES",
    kind=SignalKind.PRICE,
    at=datetime(2026, 3, 20, 12, tzinfo=UTC),
    value=5.0,
    source="s",
    quality=Quality.MEASURED,
)


def test_what_is_known_is_no_news():
    first = news([SIGNAL], {})
    assert first == [Revision(SIGNAL, 0)]
    assert news([SIGNAL], {key(SIGNAL): first[0]}) == []


@pytest.mark.parametrize("change", [{"value": 6.0}, {"quality": Quality.ESTIMATED}])
def test_a_change_is_the_next_revision_and_so_is_the_way_back(change):
    changed = replace(SIGNAL, **change)
    (second,) = news([changed], {key(SIGNAL): Revision(SIGNAL, 0)})
    assert second == Revision(changed, 1)
    assert news([SIGNAL], {key(SIGNAL): second}) == [Revision(SIGNAL, 2)]


def test_of_two_tellings_at_once_the_last_counts():
    assert news([replace(SIGNAL, value=1.0), SIGNAL], {}) == [Revision(SIGNAL, 0)]


@pytest.mark.parametrize(
    "change",
    [
        {"zone": "FR"},
        {"kind": SignalKind.RENEWABLE_SHARE},
        {"source": "t"},
        {"averaging": Averaging.MARGINAL},
        {"scope": Scope.DIRECT},
        {"at": datetime(2026, 3, 20, 13, tzinfo=UTC)},
    ],
)
def test_each_part_of_the_key_makes_another_row(change):
    other = replace(SIGNAL, **change)
    assert news([other], {key(SIGNAL): Revision(SIGNAL, 0)}) == [Revision(other, 0)]
    assert Revision(other, 0).id != Revision(SIGNAL, 0).id


def test_ids_are_of_the_revision_not_of_its_value():
    assert Revision(SIGNAL, 0).id == Revision(replace(SIGNAL, value=9.0), 0).id != Revision(SIGNAL, 1).id


@pytest.mark.parametrize(
    "bad", [{"value": float("nan")}, {"value": float("inf")}, {"at": datetime(2026, 3, 20, 12, 30, tzinfo=UTC)}]
)
def test_a_source_that_breaks_its_contract_is_stopped(bad):
    with pytest.raises(AssertionError):
        news([replace(SIGNAL, **bad)], {})


def test_origin_is_who_told():
    assert origin("typical") == "typical"
    assert origin("replay:t.csv|entsoe|rte") == "replay:t.csv"
