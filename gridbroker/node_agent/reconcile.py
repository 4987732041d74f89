"""Orders are the whole desired state; this says what to do about the difference. Pure."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gridbroker.node_agent.protocol import Action, Order

_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Key = tuple[str, int]
"""(placement_id, epoch)"""


class Deed(StrEnum):
    START = "start"
    STOP = "stop"
    """Checkpoint and stop, within the order's grace."""
    KILL = "kill"
    NEVER_STARTED = "never_started"
    """It is to stop but never ran here: say so, or the server waits for ever."""
    FENCE = "fence"
    """Its lease is over: kill it without another word."""


@dataclass(frozen=True, slots=True)
class Decision:
    deed: Deed
    key: Key
    order: Order | None = None


def reconcile(orders: Sequence[Order], live: Collection[Key], ended: Collection[Key]) -> list[Decision]:
    """`live` have a program, or are about to; `ended` never start again. A newer epoch starts only after the older one is gone."""
    listed = {(order.placement_id, order.epoch) for order in orders}
    newest = {order.placement_id: order.epoch for order in sorted(orders, key=lambda order: order.epoch)}
    decisions = [
        Decision(Deed.FENCE if newest.get(key[0], key[1]) > key[1] else Deed.KILL, key) for key in live if key not in listed
    ]
    for order in orders:
        key = order.placement_id, order.epoch
        if key in ended or not is_safe_id(order.placement_id):
            continue
        if key in live:
            decisions += _steer(order, key)
        elif order.action is not Action.RUN:
            decisions.append(Decision(Deed.NEVER_STARTED, key, order))
        elif not any(placement_id == order.placement_id for placement_id, _ in live):
            decisions.append(Decision(Deed.START, key, order))
    return decisions


def is_safe_id(placement_id: str) -> bool:
    """It becomes a folder's name and a part of a URL."""
    return _SAFE_ID.fullmatch(placement_id) is not None


def _steer(order: Order, key: Key) -> list[Decision]:
    if order.action is Action.RUN:
        return []
    return [Decision(Deed.KILL if order.action is Action.KILL else Deed.STOP, key, order)]
