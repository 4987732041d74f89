"""Money as integers in millionths of a currency unit (`_micro`). No floats, no implicit rounding."""

import re
from collections.abc import Sequence
from enum import StrEnum

from gridbroker.core.units import MICRO

_DECIMAL = re.compile(r"(-)?([0-9]{1,12})(?:\.([0-9]{1,100}))?", re.ASCII)


class Currency(StrEnum):
    EUR = "EUR"


def parse_micro(text: str) -> int:
    """Micro-units of a plain decimal string such as "12.50". Raises ValueError for any other form, and for more than 12 digits
    before the point or anything finer than a millionth behind it."""
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a decimal number such as 12.50")
    sign, whole, fraction = found.groups(default="")
    fraction = fraction.rstrip("0")
    if len(fraction) > 6:
        raise ValueError(f"{text[:40]!r} is finer than a millionth")
    micro = int(whole) * MICRO + int(fraction.ljust(6, "0"))
    return -micro if sign else micro


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
