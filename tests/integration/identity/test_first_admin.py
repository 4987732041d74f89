"""The first admin key: made once, also when two servers start together."""

import asyncio

from gridbroker.app.admin import first_admin_key


async def test_two_at_once_make_one(api):
    made = await asyncio.gather(*[first_admin_key(api.db, api.clock) for _ in range(4)])
    [secret] = [one for one in made if one is not None]
    assert (await api.client(secret).get("/api/v1/whoami")).json()["role"] == "admin"
    assert await first_admin_key(api.db, api.clock) is None
