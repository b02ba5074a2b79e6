"""The Cache contract over every cache we have (design.md 4: hints that may be lost)."""

import asyncio

import pytest

from shared.adapters.memory.cache import MemoryCache
from shared.testing import real_engines
from shared.testing.contracts.cache import CacheContract


class TestMemory(CacheContract):
    @pytest.fixture
    def seconds(self):
        return [0.0]

    @pytest.fixture
    async def cache(self, seconds):
        yield MemoryCache(monotonic=lambda: seconds[0])

    @pytest.fixture
    def pass_time(self, seconds):
        async def advance(by):
            seconds[0] += by

        return advance

    async def test_a_full_cache_forgets_what_was_not_used_for_longest(self):
        cache = MemoryCache(capacity=3)
        for name in "abc":
            await cache.put(name, b"1", ttl=60)
        await cache.get("a")
        await cache.put("d", b"1", ttl=60)
        assert [name for name in "abcd" if await cache.get(name)] == ["a", "c", "d"]


@pytest.mark.real("redis")
class TestRedis(CacheContract):
    @pytest.fixture
    async def cache(self):
        # Who is late goes on without a cache, as it should; what it answers is on trial here, not how soon.
        async with real_engines.redis_cache(timeout=5) as cache:
            yield cache

    @pytest.fixture
    def pass_time(self):
        return asyncio.sleep
