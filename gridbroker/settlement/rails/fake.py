"""Rails without a bank, for demonstrations and tests: the promises of `base`, test cards, and faults on demand.

External ids follow from the key alone, so a restarted process gives the answers of the one before it.
"""

import hashlib
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from gridbroker.settlement.outcome import RailResult
from gridbroker.settlement.rails.base import KeyReused, RailDeclined, RailUnavailable, RailUnknown

CARD_OK = "pm_card_visa"
CARD_DECLINED = "pm_card_declined"
CARD_INSUFFICIENT = "pm_card_insufficient_funds"
CARD_NUMBERS = {
    "4242424242424242": CARD_OK,
    "4000000000000002": CARD_DECLINED,
    "4000000000009995": CARD_INSUFFICIENT,
}
"""The customary test numbers, as aliases."""
_CARD_REFUSALS = {CARD_DECLINED: "card_declined", CARD_INSUFFICIENT: "insufficient_funds"}
DESTINATION_CLOSED = "closed:"
"""Payouts to destinations that begin so are refused."""


class Fault(StrEnum):
    UNAVAILABLE = "unavailable"
    """Refused before anything happened."""
    LOST_REPLY = "lost_reply"
    """It happened, but the answer did not arrive."""
    DECLINE = "decline"
    STILL_PENDING = "still_pending"
    """It was taken in and is not final yet."""


@dataclass(slots=True)
class FakeRail:
    """What the fakes share. `effects` is what the world would have seen, by key: at most one entry for each."""

    prefix: str
    effects: dict[str, tuple[object, ...]] = field(default_factory=dict[str, tuple[object, ...]])
    calls: int = 0
    _faults: deque[Fault] = field(default_factory=deque[Fault])

    def script(self, *faults: Fault) -> None:
        """Let the next calls meet these faults, in order."""
        self._faults.extend(faults)

    def perform(self, key: str, body: tuple[object, ...], refusal: str | None) -> RailResult:
        self.calls += 1
        fault = self._faults.popleft() if self._faults else None
        if fault is Fault.UNAVAILABLE:
            raise RailUnavailable("The rail takes nothing in at the moment.")
        if self.effects.get(key, body) != body:
            raise KeyReused("This key was used with another body.")
        if key not in self.effects and (refusal or fault is Fault.DECLINE):
            raise RailDeclined(refusal or "declined")
        self.effects[key] = body
        if fault is Fault.LOST_REPLY:
            raise RailUnknown("The connection broke before the answer came.")
        digest = hashlib.sha256(f"{self.prefix}:{key}".encode()).hexdigest()
        return RailResult(f"{self.prefix}_{digest[:24]}", confirmed=fault is not Fault.STILL_PENDING)


class FakeCardRail(FakeRail):
    def __init__(self) -> None:
        super().__init__("fake_ch")

    async def charge(self, key: str, amount_micro: int, currency: str, payment_method: str) -> RailResult:
        method = CARD_NUMBERS.get(payment_method, payment_method)
        refusal = None if method == CARD_OK else _CARD_REFUSALS.get(method, "no_such_payment_method")
        return self.perform(key, (amount_micro, currency, method), refusal)


class FakePayoutRail(FakeRail):
    def __init__(self) -> None:
        super().__init__("fake_po")

    async def pay(self, key: str, amount_micro: int, currency: str, destination: str) -> RailResult:
        refusal = "destination_closed" if destination.startswith(DESTINATION_CLOSED) else None
        return self.perform(key, (amount_micro, currency, destination), refusal)


class FakeAnchorRail(FakeRail):
    def __init__(self) -> None:
        super().__init__("fake_an")

    async def anchor(self, key: str, memo: str) -> RailResult:
        return self.perform(key, (memo,), None)
