"""What every rail promises: the same cases for each. A real rail joins by adding itself to `RAILS`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from gridbroker.settlement.outcome import RailResult
from gridbroker.settlement.rails.base import KeyReused, RailDeclined, RailUnavailable, RailUnknown
from gridbroker.settlement.rails.fake import FakeAnchorRail, FakeCardRail, FakePayoutRail, Fault


@dataclass(frozen=True)
class Rail:
    """A kind of rail: how to make one, and a good and a refused request."""

    make: Callable[[], Any]
    good: Callable[[Any, str, int], Awaitable[RailResult]]
    refused: Callable[[Any, str], Awaitable[RailResult]] | None


RAILS = {
    "card": Rail(
        FakeCardRail,
        lambda rail, key, amount: rail.charge(key, amount, "EUR", "pm_card_visa"),
        lambda rail, key: rail.charge(key, 5, "EUR", "pm_card_declined"),
    ),
    "payout": Rail(
        FakePayoutRail,
        lambda rail, key, amount: rail.pay(key, amount, "EUR", "provider:x"),
        lambda rail, key: rail.pay(key, 5, "EUR", "closed:x"),
    ),
    "anchor": Rail(FakeAnchorRail, lambda rail, key, amount: rail.anchor(key, f"gridbroker:mr1:{amount}"), None),
}
every_rail = pytest.mark.parametrize("kind", RAILS.values(), ids=RAILS)


@every_rail
async def test_the_same_key_is_the_same_effect(kind):
    rail, key = kind.make(), str(uuid4())
    first = await kind.good(rail, key, 5)
    assert first.confirmed
    assert await kind.good(rail, key, 5) == first
    assert list(rail.effects) == [key]


@every_rail
async def test_a_restarted_process_gives_the_same_answer(kind):
    key = str(uuid4())
    assert await kind.good(kind.make(), key, 5) == await kind.good(kind.make(), key, 5)


@every_rail
async def test_other_keys_are_other_effects(kind):
    rail = kind.make()
    results = [await kind.good(rail, str(uuid4()), 5) for _ in range(3)]
    assert len({result.external_id for result in results}) == len(rail.effects) == 3


@every_rail
async def test_the_same_key_with_another_body_is_refused(kind):
    rail, key = kind.make(), str(uuid4())
    await kind.good(rail, key, 5)
    with pytest.raises(KeyReused):
        await kind.good(rail, key, 6)
    assert len(rail.effects) == 1


@every_rail
async def test_a_lost_reply_happened_and_is_found_again(kind):
    rail, key = kind.make(), str(uuid4())
    rail.script(Fault.LOST_REPLY)
    with pytest.raises(RailUnknown):
        await kind.good(rail, key, 5)
    assert len(rail.effects) == 1
    assert (await kind.good(rail, key, 5)).confirmed
    assert len(rail.effects) == 1


@every_rail
async def test_unavailable_means_that_nothing_happened(kind):
    rail = kind.make()
    rail.script(Fault.UNAVAILABLE, Fault.UNAVAILABLE)
    for _ in range(2):
        with pytest.raises(RailUnavailable):
            await kind.good(rail, "key", 5)
    assert not rail.effects
    await kind.good(rail, "key", 5)


@every_rail
async def test_what_is_still_pending_confirms_later(kind):
    rail, key = kind.make(), str(uuid4())
    rail.script(Fault.STILL_PENDING)
    pending = await kind.good(rail, key, 5)
    final = await kind.good(rail, key, 5)
    assert (pending.confirmed, final.confirmed) == (False, True)
    assert pending.external_id == final.external_id


@pytest.mark.parametrize(
    "kind", [rail for rail in RAILS.values() if rail.refused], ids=[name for name in RAILS if RAILS[name].refused]
)
async def test_a_refusal_is_definite_and_leaves_nothing(kind):
    rail = kind.make()
    for _ in range(2):
        with pytest.raises(RailDeclined):
            await kind.refused(rail, "key")
    assert not rail.effects


async def test_test_cards():
    rail = FakeCardRail()
    assert await rail.charge("a", 5, "EUR", "4242424242424242") == await rail.charge("a", 5, "EUR", "pm_card_visa")
    with pytest.raises(RailDeclined, match="insufficient_funds"):
        await rail.charge("b", 5, "EUR", "pm_card_insufficient_funds")
    with pytest.raises(RailDeclined, match="no_such_payment_method"):
        await rail.charge("c", 5, "EUR", "pm_unheard_of")
