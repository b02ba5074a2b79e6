"""Circuit breakers in the cache: whether somebody who is called is being given a rest (shared.domain.breaker)."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from shared.domain.breaker import FIRST_PAUSE, Breaker, failed, let_through, may_try
from shared.ports import Cache, Clock

_TTL = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Breakers:
    """``who`` tells those apart whose calls fail, and names none: one that fails alone opens nothing."""

    cache: Cache
    clock: Clock

    async def blocked_until(self, key: str, who: int) -> datetime | None:
        """When the breaker lets a call through; None: now. Half-open lets this one through."""
        kept = await self.cache.get(key)
        if kept is None:
            return None
        breaker, now = msgspec.json.decode(kept, type=Breaker), self.clock.now()
        if breaker.state(now) == "half-open":
            if not may_try(breaker, who, now):
                return now + FIRST_PAUSE
            trying = msgspec.json.encode(let_through(breaker, now))
            if await self.cache.replace(key, kept, trying, ttl=_TTL):
                return None
            return now + FIRST_PAUSE
        return breaker.until

    async def worked(self, key: str) -> None:
        if await self.cache.get(key) is not None:
            await self.cache.delete(key)

    async def failed(self, key: str, who: int, *, at_once: bool = False) -> None:
        """``at_once``: it is known to be broken, whoever asks."""
        kept = await self.cache.get(key)
        breaker = Breaker() if kept is None else msgspec.json.decode(kept, type=Breaker)
        after = failed(breaker, self.clock.now(), who=who, at_once=at_once)
        await self.cache.put(key, msgspec.json.encode(after), ttl=_TTL)
