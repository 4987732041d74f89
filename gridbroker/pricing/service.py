"""Use cases of pricing: keep the quote that a customer was given, and find it again."""

from uuid import UUID

from gridbroker.core.db import Tx
from gridbroker.core.errors import Conflict
from gridbroker.pricing import repository
from gridbroker.pricing.quote import Quote


class AlreadyQuoted(Conflict):
    code, title = "already_quoted", "This workload has a quote, and a quote does not change"


async def save_quote(tx: Tx, quote: Quote, org_id: UUID) -> None:
    """Keep a workload's one quote; saving the same again changes nothing. Raises AlreadyQuoted for another."""
    if await repository.add_quote(tx, quote, org_id):
        return
    if await repository.find_quote(tx, quote.workload_id) != quote:
        raise AlreadyQuoted("Submit a new workload instead.")


async def get_quote(tx: Tx, workload_id: UUID) -> Quote | None:
    return await repository.find_quote(tx, workload_id)
