"""Money as integers in millionths of a currency unit (`_micro`). No floats, no implicit rounding."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from gridbroker.core.units import MICRO


class Currency(StrEnum):
    EUR = "EUR"


def parse_micro(text: str) -> int:
    """Micro-units of a plain decimal string such as "12.50". Raises ValueError for anything finer than a millionth, or not finite."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not amount.is_finite() or abs(amount) >= 10**12:
        raise ValueError(f"{text!r} is out of range")
    micro = amount * MICRO
    if micro != micro.to_integral_value():
        raise ValueError(f"{text!r} is finer than a millionth")
    return int(micro)


def format_micro(amount_micro: int) -> str:
    """Exact decimal string with at least two places: 12500000 -> "12.50", 1 -> "0.000001"."""
    sign = "-" if amount_micro < 0 else ""
    whole, fraction = divmod(abs(amount_micro), MICRO)
    return f"{sign}{whole}.{f'{fraction:06d}'.rstrip('0').ljust(2, '0')}"


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Shares of a non-negative amount in proportion to non-negative weights, by largest remainder; the shares sum to the amount.

    Ties go to the earlier share, so the result depends on nothing but its arguments. All-zero weights count as equal ones.
    """
    if amount < 0 or not weights or min(weights) < 0:
        raise ValueError("split needs a non-negative amount and at least one non-negative weight")
    total = sum(weights)
    if total == 0:
        weights, total = [1] * len(weights), len(weights)
    shares = [amount * weight // total for weight in weights]
    remainders = [amount * weight % total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: (-remainders[index], index))
    for index in by_remainder[: amount - sum(shares)]:
        shares[index] += 1
    return shares
