"""A network that delivers what agents say more than once, late, out of order and long afterwards, but never not at all."""

from collections import Counter
from random import Random

import httpx

REPEATED = 0.1
HELD = 0.15
OLD_NEWS = 0.06
_TAKEN_OR_OVER = frozenset({200, 201, 204, 409})
_PROMISE = {"Content-Type": "application/json"}


class UnreliableNetwork(httpx.AsyncBaseTransport):
    """Between one agent and the API. Batches of samples may overtake each other; a report never overtakes a sample."""

    def __init__(self, inner: httpx.AsyncBaseTransport, random: Random, happened: Counter[str]) -> None:
        self._inner, self._random, self._happened = inner, random, happened
        self._held: httpx.Request | None = None
        self._said: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        is_samples = request.url.path.endswith("/samples")
        if is_samples and self._held is None and self._roll(HELD, "held"):
            self._held = request
            return httpx.Response(200, headers=_PROMISE, content=b'{"accepted":0,"duplicates":0}', request=request)
        if not is_samples:
            await self.flush()
        answer = await self._deliver(request)
        if is_samples:
            await self.flush()
        if request.method == "POST" and not request.url.path.endswith("/heartbeat"):
            await self._repeat(request, answer)
        return answer

    async def flush(self) -> None:
        """Deliver what is held back."""
        held, self._held = self._held, None
        if held is not None:
            answer = await self._deliver(held)
            assert answer.status_code == 200, (answer.status_code, answer.content)
            self._said.append(held)

    async def _repeat(self, request: httpx.Request, first: httpx.Response) -> None:
        self._said.append(request)
        if self._roll(REPEATED, "repeated"):
            again = await self._deliver(request)
            assert again.status_code == first.status_code, (request.url.path, again.content)
        if self._roll(OLD_NEWS, "old_news"):
            old = self._random.choice(self._said)
            answer = await self._deliver(old)
            assert answer.status_code in _TAKEN_OR_OVER, (old.url.path, answer.status_code, answer.content)

    async def _deliver(self, request: httpx.Request) -> httpx.Response:
        copy = httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        answer = await self._inner.handle_async_request(copy)
        await answer.aread()
        return answer

    def _roll(self, chance: float, what: str) -> bool:
        if self._random.random() >= chance:
            return False
        self._happened[what] += 1
        return True
