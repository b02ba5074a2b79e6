"""A cache that is flushed, gone, hanging or full: nobody notices but the metrics (design.md 4, faults 6)."""

import asyncio
import logging
from time import monotonic
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from shared.adapters.redis.cache import RedisCache
from shared.domain.rate_limit import Quota
from shared.observability import metrics
from shared.testing import real_engines
from shared.testing.proxy import proxy

pytestmark = pytest.mark.real("redis")


@pytest.fixture
def address():
    parts = urlsplit(real_engines.address("redis"))
    return parts.hostname, parts.port


@pytest.fixture
async def redis():
    async with Redis.from_url(real_engines.address("redis")) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture
async def way(address):
    async with proxy(*address) as made:
        yield made


@pytest.fixture
async def cache(way, redis):
    cache = RedisCache(f"redis://127.0.0.1:{way.port}/0", timeout=0.2)
    yield cache
    await cache.close()


async def answers_as_if_empty(cache):
    assert await cache.get("acme/k") is None
    await cache.put("acme/k", b"2", ttl=60)
    assert await cache.replace("acme/k", None, b"3", ttl=60)
    assert not await cache.replace("acme/k", b"1", b"3", ttl=60)
    await cache.delete("acme/k")
    assert (await cache.admit("acme/k", Quota(1_000_000))).admitted


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


async def test_a_flush_empties_it_and_replacing_goes_on(cache, redis):
    await cache.put("acme/k", b"1", ttl=60)
    await redis.flushall()
    await redis.script_flush()
    assert await cache.get("acme/k") is None
    assert await cache.replace("acme/k", None, b"1", ttl=60)
    assert await cache.replace("acme/k", b"1", b"2", ttl=60)


async def test_one_that_is_gone_answers_as_if_it_were_empty_and_is_used_again_when_it_is_back(
    cache, way, caplog, until
):
    caplog.set_level(logging.INFO, "chat4all")
    await cache.put("acme/k", b"1", ttl=60)
    await way.cut()
    for _ in range(3):
        await answers_as_if_empty(cache)
    assert metrics.cache_up._value.get() == 0
    await way.start()

    async def used_again():
        return await cache.get("acme/k") == b"1"

    await until(used_again, within=5)
    assert metrics.cache_up._value.get() == 1
    assert lines(caplog) == ["the cache does not answer; going on without", "the cache answers again"]


async def test_one_that_hangs_delays_one_call_a_second_by_its_timeout_and_no_other(cache, way):
    await cache.put("acme/k", b"1", ttl=60)
    way.hang()
    await cache.get("acme/k")
    before = monotonic()
    for _ in range(200):
        await answers_as_if_empty(cache)
    assert monotonic() - before < 0.5


async def test_many_at_once_wait_no_longer_than_one_for_a_cache_that_hangs(cache, way):
    way.hang()
    before = monotonic()
    await asyncio.gather(*(cache.get(f"acme/{n}") for n in range(500)))
    assert monotonic() - before < 1.0


async def test_more_callers_than_connections_get_their_turns(redis, caplog):
    """In redis-py's blocking pool one of 64 who never stop asking is left out until it gives up."""
    cache = RedisCache(real_engines.address("redis"), connections=8)
    asked = iter(range(10_000))

    async def ask():
        for n in asked:
            await cache.put(f"acme/{n}", b"%d" % n, ttl=60)
            assert await cache.get(f"acme/{n}") == b"%d" % n

    await asyncio.gather(*(ask() for _ in range(64)))
    assert lines(caplog) == []
    await cache.close()


async def test_a_full_one_answers_as_if_it_were_empty(cache, redis):
    await redis.config_set("maxmemory", 1)
    try:
        await cache.put("acme/k", b"1", ttl=60)
        assert await cache.get("acme/k") is None
    finally:
        await redis.config_set("maxmemory", 128 * 1024 * 1024)


async def test_one_that_was_never_there_is_no_error():
    cache = RedisCache("redis://127.0.0.1:1/0", timeout=0.2)
    await answers_as_if_empty(cache)
    with pytest.raises(OSError):
        await cache.ping()
    await cache.close()


async def test_a_cancelled_call_does_not_give_its_answer_to_another(cache, way, redis):
    await redis.set("acme/a", b"a")
    await redis.set("acme/b", b"b")
    way.hang()
    asking = asyncio.create_task(cache.get("acme/a"))
    await asyncio.sleep(0.05)
    asking.cancel()
    way.heal()
    assert await cache.get("acme/b") == b"b"


async def test_limits_are_neither_open_nor_closed_without_it_and_shared_again_when_it_is_back(way, redis, until):
    """reliability.md 5.4: each of the replicas grants its part."""
    both = [RedisCache(f"redis://127.0.0.1:{way.port}/0", timeout=0.2, replicas=2) for _ in range(2)]
    quota = Quota(10, window=600)
    for cache in both:
        assert [(await cache.admit("acme/shared", quota)).admitted for _ in range(5)] == [True] * 5
    assert not (await both[0].admit("acme/shared", quota)).admitted
    await way.cut()
    for cache in both:
        assert [(await cache.admit("acme/alone", quota)).admitted for _ in range(6)] == [True] * 5 + [False]
    await way.start()

    async def shared_again():
        return not (await both[0].admit("acme/shared", quota)).admitted

    await until(shared_again, within=5)
    for cache in both:
        await cache.close()


async def test_a_limit_is_one_round_trip_also_after_its_script_was_forgotten(cache, redis):
    quota = Quota(3, window=600)
    assert (await cache.admit("acme/k", quota)).remaining == 2
    await redis.script_flush()
    assert (await cache.admit("acme/k", quota)).remaining == 1
    await redis.config_resetstat()
    assert (await cache.admit("acme/k", quota)).remaining == 0
    asked = await redis.info("commandstats")
    assert asked["cmdstat_evalsha"]["calls"] == 1
    assert "cmdstat_eval" not in asked
