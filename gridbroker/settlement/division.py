"""How a workload's cost is divided: what the customer pays, what each provider gets, what the platform keeps."""

from dataclasses import dataclass
from uuid import UUID

from gridbroker.core.money import split
from gridbroker.core.units import div_half_even
from gridbroker.metering.statement import Statement

BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class Share:
    provider_org_id: UUID
    amount_micro: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """`charged_micro` = `fee_micro` + the shares; the hold = `charged_micro` + `released_micro`."""

    charged_micro: int
    released_micro: int
    fee_micro: int
    shares: tuple[Share, ...]
    """One per provider that gets anything, in order of first use."""


def divide(statement: Statement, held_micro: int, fee_bp: int) -> Division:
    """Charge the cost, at most the hold; fee half to even, the rest to providers in proportion to their placements' cost.

    Rounded once, here. Raises ValueError for a negative amount or a fee outside 0 to 10000 basis points.
    """
    if held_micro < 0 or statement.cost_micro < 0 or not 0 <= fee_bp <= BASIS_POINTS:
        raise ValueError("a division needs a non-negative cost and hold, and a fee of 0 to 10000 basis points")
    charged_micro = min(statement.cost_micro, held_micro)
    fee_micro = div_half_even(charged_micro * fee_bp, BASIS_POINTS)
    return Division(
        charged_micro=charged_micro,
        released_micro=held_micro - charged_micro,
        fee_micro=fee_micro,
        shares=_shares(statement, charged_micro - fee_micro),
    )


def _shares(statement: Statement, amount_micro: int) -> tuple[Share, ...]:
    cost_micro: dict[UUID, int] = {}
    for usage in statement.usages:
        cost_micro[usage.provider_org_id] = cost_micro.get(usage.provider_org_id, 0) + usage.cost_micro
    if amount_micro == 0:
        return ()
    amounts = split(amount_micro, list(cost_micro.values()))
    return tuple(Share(provider, amount) for provider, amount in zip(cost_micro, amounts, strict=True) if amount)
