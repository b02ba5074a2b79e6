"""
The cache on Redis. One that is down, slow or full answers as if it were empty: hints may be lost at any moment.

While it is down only one call a second finds out whether it is back, so that nobody waits for it; one line says
when that changes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.adapters.memory.cache import MemoryCache
from shared.domain.rate_limit import Quota, Standing, standing
from shared.observability import metrics
from shared.observability.log import log

_REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_ADMIT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, requests = tonumber(ARGV[1]), tonumber(ARGV[2])
local ahead = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') - now, 0)
if interval * requests - ahead < interval then return {0, ahead} end
ahead = ahead + interval
redis.call('SET', KEYS[1], string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000))
return {1, ahead}
"""
"""``shared.domain.rate_limit.admit`` by Redis's own clock."""
_ASK_AGAIN = 1.0
_T = TypeVar("_T")


class RedisCache:
    """
    ``url``: redis:// or rediss://. ``timeout``: seconds for one operation, after which Redis counts as down.
    ``connections``: at most; further operations wait for one. ``replicas``: processes that share the quotas; while
    Redis is down each grants its part, so that limits are neither open nor closed. Close with ``close``.
    """

    def __init__(self, url: str, *, timeout: float = 0.5, connections: int = 32, replicas: int = 1) -> None:
        pool = ConnectionPool.from_url(
            url,
            max_connections=connections,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            socket_keepalive=True,
            # The library's ten tries would apply a write twice and make everybody wait.
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._replace = self._redis.register_script(_REPLACE)
        self._admit = self._redis.register_script(_ADMIT)
        self._alone, self._replicas = MemoryCache(), replicas
        # First come, first served: in the library's own blocking pool somebody waits for ever under load.
        self._turns = asyncio.Semaphore(connections)
        self._timeout = timeout
        self._up = True
        self._ask_at = 0.0
        metrics.cache_up.set(1)

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._asked(lambda: self._redis.get(key), None)
        return value

    async def put(self, key: str, value: bytes, *, ttl: float) -> None:
        await self._asked(lambda: self._redis.set(key, value, px=_milliseconds(ttl)), None)

    async def replace(self, key: str, expected: bytes | None, value: bytes, *, ttl: float) -> bool:
        # In an empty cache it would have been replaced if nothing was expected.
        return bool(
            await self._asked(lambda: self._replaced(key, expected, value, _milliseconds(ttl)), expected is None)
        )

    async def delete(self, key: str) -> None:
        await self._asked(lambda: self._redis.delete(key), None)

    async def admit(self, key: str, quota: Quota) -> Standing:
        answer = await self._asked(lambda: self._admit(keys=[key], args=[quota.interval, quota.requests]), None)
        if answer is None:
            return await self._alone.admit(key, quota.divided(self._replicas))
        admitted, ahead = answer
        return standing(bool(admitted), ahead, quota)

    async def ping(self) -> None:
        """
        For readiness.

        Raises:
            OSError: it does not answer.
        """
        try:
            async with asyncio.timeout(2 * self._timeout):
                await self._redis.get("ping")
        except (RedisError, TimeoutError) as error:
            raise OSError(f"no answer: {type(error).__name__}") from error

    async def close(self) -> None:
        await self._redis.aclose()

    def _replaced(self, key: str, expected: bytes | None, value: bytes, ttl: int) -> Awaitable[Any]:
        if expected is None:
            return self._redis.set(key, value, px=ttl, nx=True)
        return self._replace(keys=[key], args=[expected, value, ttl])

    async def _asked(self, ask: Callable[[], Awaitable[Any]], if_empty: _T) -> Any | _T:
        if not self._up:
            now = monotonic()
            if now < self._ask_at:
                return if_empty
            self._ask_at = now + _ASK_AGAIN
        try:
            # The library's timeouts hold for one step each: connecting, writing, reading.
            async with asyncio.timeout(2 * self._timeout), self._turns:
                found = await ask()
        except (RedisError, OSError, TimeoutError) as error:
            metrics.cache_failures.inc()
            if self._up:
                self._up = False
                self._ask_at = monotonic() + _ASK_AGAIN
                metrics.cache_up.set(0)
                log.warning("the cache does not answer; going on without", why=type(error).__name__)
            return if_empty
        if not self._up:
            self._up = True
            metrics.cache_up.set(1)
            log.info("the cache answers again")
        return found


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)
