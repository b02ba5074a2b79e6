"""What every Cache must do while it is up (shared.ports.cache). Subclass it and say how to open an empty one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from shared.domain.rate_limit import Quota
from shared.ports.cache import Cache

PassTime = Callable[[float], Awaitable[None]]


class CacheContract:
    @pytest.fixture
    async def cache(self) -> AsyncIterator[Cache]:
        raise NotImplementedError("say how to open an empty Cache")
        yield

    @pytest.fixture
    def pass_time(self) -> PassTime:
        raise NotImplementedError("say how to let seconds pass for the cache")

    async def test_nothing_is_where_nothing_was_put(self, cache: Cache) -> None:
        assert await cache.get("acme/k") is None
        await cache.delete("acme/k")

    @pytest.mark.parametrize("value", [b"", b"\x00\xff\r\n", "ção 🙂".encode(), bytes(65_536)])
    async def test_a_value_comes_back_as_it_was_put(self, cache: Cache, value: bytes) -> None:
        await cache.put("acme/ção 🙂 %/:", value, ttl=60)
        assert await cache.get("acme/ção 🙂 %/:") == value

    async def test_the_last_of_several_puts_stands(self, cache: Cache) -> None:
        for n in range(5):
            await cache.put("acme/k", b"%d" % n, ttl=60)
        assert await cache.get("acme/k") == b"4"

    async def test_tenants_do_not_see_each_other(self, cache: Cache) -> None:
        await cache.put("acme/k", b"1", ttl=60)
        assert await cache.get("umbrella/k") is None
        await cache.delete("umbrella/k")
        assert await cache.get("acme/k") == b"1"

    async def test_a_deleted_value_is_gone(self, cache: Cache) -> None:
        await cache.put("acme/k", b"1", ttl=60)
        await cache.delete("acme/k")
        assert await cache.get("acme/k") is None

    async def test_a_value_is_gone_once_its_ttl_has_passed(self, cache: Cache, pass_time: PassTime) -> None:
        await cache.put("acme/short", b"1", ttl=0.5)
        await cache.put("acme/long", b"2", ttl=60)
        assert await cache.get("acme/short") == b"1"
        await pass_time(0.6)
        assert await cache.get("acme/short") is None
        assert await cache.get("acme/long") == b"2"

    async def test_putting_again_sets_the_ttl_anew(self, cache: Cache, pass_time: PassTime) -> None:
        await cache.put("acme/k", b"1", ttl=0.5)
        await cache.put("acme/k", b"2", ttl=60)
        await pass_time(0.6)
        assert await cache.get("acme/k") == b"2"

    async def test_a_value_is_replaced_if_it_is_the_expected_one(self, cache: Cache, pass_time: PassTime) -> None:
        assert await cache.replace("acme/k", None, b"1", ttl=60)
        assert not await cache.replace("acme/k", None, b"2", ttl=60)
        assert not await cache.replace("acme/k", b"other", b"2", ttl=60)
        assert await cache.get("acme/k") == b"1"
        assert await cache.replace("acme/k", b"1", b"2", ttl=0.5)
        assert await cache.get("acme/k") == b"2"
        await pass_time(0.6)
        assert not await cache.replace("acme/k", b"2", b"3", ttl=60)
        assert await cache.replace("acme/k", None, b"3", ttl=60)

    async def test_an_empty_value_is_not_an_absent_one(self, cache: Cache) -> None:
        assert not await cache.replace("acme/k", b"", b"1", ttl=60)
        await cache.put("acme/k", b"", ttl=60)
        assert not await cache.replace("acme/k", None, b"1", ttl=60)
        assert await cache.replace("acme/k", b"", b"1", ttl=60)

    async def test_one_of_fifty_who_replace_the_same_value_wins(self, cache: Cache) -> None:
        done = await asyncio.gather(*(cache.replace("acme/k", None, b"%d" % n, ttl=60) for n in range(50)))
        assert done.count(True) == 1
        assert await cache.get("acme/k") == b"%d" % done.index(True)

    async def test_two_hundred_operations_at_once_do_what_they_would_one_by_one(self, cache: Cache) -> None:
        async def work(n: int) -> None:
            await cache.put(f"acme/{n}", b"%d" % n, ttl=60)
            assert await cache.get(f"acme/{n}") == b"%d" % n
            if n % 2:
                await cache.delete(f"acme/{n}")

        await asyncio.gather(*(work(n) for n in range(200)))
        kept = [n for n in range(200) if await cache.get(f"acme/{n}") is not None]
        assert kept == list(range(0, 200, 2))

    async def test_a_quota_is_granted_and_no_more(self, cache: Cache) -> None:
        quota = Quota(3, window=600)
        standings = [await cache.admit("acme/limit", quota) for _ in range(5)]
        assert [one.admitted for one in standings] == [True, True, True, False, False]
        assert [one.remaining for one in standings] == [2, 1, 0, 0, 0]
        assert 190 < standings[-1].wait <= 200
        assert 590 < standings[-1].reset <= 600

    async def test_what_was_used_of_a_quota_comes_back_evenly(self, cache: Cache, pass_time: PassTime) -> None:
        quota = Quota(4, window=2)
        assert [(await cache.admit("acme/limit", quota)).admitted for _ in range(5)] == [True] * 4 + [False]
        await pass_time(0.6)
        assert [(await cache.admit("acme/limit", quota)).admitted for _ in range(2)] == [True, False]
        await pass_time(2.1)
        assert (await cache.admit("acme/limit", quota)).remaining == 3

    async def test_quotas_of_other_keys_are_untouched_and_a_refusal_costs_nothing(self, cache: Cache) -> None:
        quota = Quota(1, window=600)
        assert (await cache.admit("acme/limit", quota)).admitted
        refused = [await cache.admit("acme/limit", quota) for _ in range(3)]
        assert max(one.wait for one in refused) <= 600
        assert (await cache.admit("umbrella/limit", quota)).admitted

    async def test_of_two_hundred_who_ask_at_once_the_quota_is_admitted(self, cache: Cache) -> None:
        standings = await asyncio.gather(*(cache.admit("acme/limit", Quota(50, window=6000)) for _ in range(200)))
        assert sum(one.admitted for one in standings) == 50

    async def test_a_changed_quota_holds_from_the_next_request_on(self, cache: Cache) -> None:
        for _ in range(10):
            assert (await cache.admit("acme/limit", Quota(10, window=600))).admitted
        assert not (await cache.admit("acme/limit", Quota(2, window=600))).admitted
        assert (await cache.admit("acme/limit", Quota(10_000, window=600))).wait <= 600
