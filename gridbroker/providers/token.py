"""One-time tokens with which a node registers: each admits exactly one registration."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gridbroker.core.errors import Conflict, Unauthenticated

MIN_TTL_S = 60
MAX_TTL_S = 7 * 24 * 3600
DEFAULT_TTL_S = 3600


class NodeTokenUnknown(Unauthenticated):
    code, title = "node_token_unknown", "No such node token"


class NodeTokenExpired(Unauthenticated):
    code, title = "node_token_expired", "The node token has expired"


class NodeTokenUsed(Conflict):
    code, title = "node_token_used", "The node token was used already"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeToken:
    token_id: UUID
    org_id: UUID
    expires_at: datetime
    """Wall time."""
    used_at: datetime | None


def check_token(token: NodeToken | None, now: datetime) -> NodeToken:
    """The token, if it may be used at a wall time. Raises one of the three errors above."""
    if token is None:
        raise NodeTokenUnknown("Pass the token exactly as it was shown when it was made.")
    if token.used_at is not None:
        raise NodeTokenUsed("A token admits one registration. Make another one for this node.")
    if now >= token.expires_at:
        raise NodeTokenExpired(f"The token was good until {token.expires_at.isoformat()}. Make another one.")
    return token
