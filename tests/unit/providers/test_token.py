from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from gridbroker.providers.token import NodeToken, NodeTokenExpired, NodeTokenUnknown, NodeTokenUsed, check_token

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


def token(*, ttl_s: int = 60, used_at: datetime | None = None) -> NodeToken:
    return NodeToken(token_id=UUID(int=1), org_id=UUID(int=2), expires_at=NOW + timedelta(seconds=ttl_s), used_at=used_at)


def test_a_fresh_token_passes():
    assert check_token(token(), NOW) == token()


def test_each_refusal_has_its_own_code():
    with pytest.raises(NodeTokenUnknown):
        check_token(None, NOW)
    with pytest.raises(NodeTokenExpired):
        check_token(token(ttl_s=0), NOW)
    with pytest.raises(NodeTokenUsed):
        check_token(token(used_at=NOW), NOW)
    with pytest.raises(NodeTokenUsed):
        check_token(token(ttl_s=-1, used_at=NOW), NOW)
