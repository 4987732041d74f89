"""What every rail promises, and how it says no.

The key is the row's id. A rail answers the same key and body with the same result, however often and by whichever process it is
asked, and does the effect once; the same key with another body is refused.
"""

from typing import Protocol

from gridbroker.core.errors import Conflict, GridbrokerError, Unavailable
from gridbroker.settlement.data_integrity import Signer
from gridbroker.settlement.outcome import RailResult

__all__ = [
    "AnchorRail",
    "CardRail",
    "KeyReused",
    "PayoutRail",
    "RailDeclined",
    "RailError",
    "RailResult",
    "RailUnavailable",
    "RailUnknown",
    "Signer",
]


class RailError(GridbrokerError):
    code, status, title = "rail_error", 502, "The payment rail failed"


class RailDeclined(RailError):
    """Definitely not done, and asking again will not change that."""

    code, status, title = "rail_declined", 402, "The payment rail refused"


class RailUnknown(RailError):
    """No answer: it may have been done."""

    code, title = "rail_unknown", "The payment rail did not answer"


class RailUnavailable(Unavailable):
    """Not done: the rail took nothing in."""

    code, title = "rail_unavailable", "The payment rail is not available"


class KeyReused(Conflict):
    """Our mistake: the same key with another amount or destination."""

    code, title = "rail_key_reused", "The key was used for something else"


class CardRail(Protocol):
    async def charge(self, key: str, amount_micro: int, currency: str, payment_method: str) -> RailResult: ...


class PayoutRail(Protocol):
    async def pay(self, key: str, amount_micro: int, currency: str, destination: str) -> RailResult:
        """Pay, or tell how far the payment with this key is: `confirmed` is False until it cannot be undone any more."""
        ...


class AnchorRail(Protocol):
    async def anchor(self, key: str, memo: str) -> RailResult:
        """Publish a memo where nobody can change it."""
        ...
