"""
What every ConsumerGroups promises the trigger runner (shared.ports.consumer_groups). Subclass it and say what stands
behind it: a topic of a few partitions, and groups that nobody has seen.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

import pytest

from events import CloudEvent
from shared.ports.consumer_groups import Claim, ConsumerGroups, GroupMember
from shared.testing.contracts.record_log import cloudevent

A, B = {"type": "a"}, {"type": "b", "channel": "whatsapp"}
_WITHIN = 30.0

Publish = Callable[..., Awaitable[None]]


def event(identifier: str, kind: str = "a", **more: str) -> CloudEvent:
    return cloudevent(identifier, type=kind, partitionkey=identifier, **more)


@dataclass
class Reader:
    """One who finishes at once whatever comes, and keeps nothing until it is told to."""

    member: GroupMember
    ids: list[str] = field(default_factory=list)
    read: dict[Claim, int] = field(default_factory=dict)
    let_go: list[Claim] = field(default_factory=list)
    finishes: bool = True
    """Whether it says, of claims that end, that what it has seen is finished."""
    _reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.member.join(self._let_go)
        self._reading = asyncio.create_task(self._read())

    async def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        await self.member.leave()

    async def keep(self, finished: Mapping[Claim, int] | None = None) -> None:
        """Commit this, or all that was seen."""
        wanted = finished or {claim: read for claim, read in self.read.items() if claim.held}
        while not await self.member.commit(wanted):  # noqa: ASYNC110  it says only "not now"
            await asyncio.sleep(0.05)

    @property
    def partitions(self) -> set[int]:
        """What it was told that it holds."""
        return {claim.partition for claim in self.read if claim.held}

    async def _read(self) -> None:
        while True:
            for fetched in await self.member.fetch():
                if fetched.claim.held:
                    self.ids += [one.event.attributes["id"] for one in fetched.records]
                    self.read[fetched.claim] = fetched.read

    async def _let_go(self, claims: Collection[Claim]) -> Mapping[Claim, int]:
        assert not any(claim.held for claim in claims)
        self.let_go += claims
        return {claim: self.read[claim] for claim in claims if claim in self.read} if self.finishes else {}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WITHIN):
        while not true():  # noqa: ASYNC110  what comes true is somebody else's
            await asyncio.sleep(0.02)


def numbers(count: int, start: int = 0) -> set[str]:
    return {str(n) for n in range(start, start + count)}


class ConsumerGroupsContract:
    @pytest.fixture
    def groups(self) -> ConsumerGroups:
        raise NotImplementedError("a subclass gives the groups under test")

    @pytest.fixture
    def publish(self) -> Publish:
        raise NotImplementedError("a subclass says how events come into the topic")

    @pytest.fixture
    async def reading(self, groups: ConsumerGroups) -> AsyncIterator[Callable[..., Awaitable[Reader]]]:
        """Start a reader of a group, which has joined when this returns."""
        readers: list[Reader] = []

        async def start(name: str = "g", *filters: Mapping[str, str], instead_of: Collection[str] = ()) -> Reader:
            reader = Reader(groups.member(name, filters or (A,), instead_of=tuple(instead_of)))
            readers.append(reader)
            await reader.start()
            return reader

        yield start
        for reader in readers:
            await reader.stop()

    async def test_a_new_group_begins_at_the_end_and_misses_nothing_from_then_on(
        self, reading: Callable[..., Awaitable[Reader]], publish: Publish
    ) -> None:
        await publish(*(event(str(n)) for n in range(20)))
        reader = await reading()
        await publish(*(event(str(n)) for n in range(20, 60)))
        await until(lambda: len(reader.ids) >= 40)
        assert sorted(reader.ids) == sorted(numbers(40, start=20))

    async def test_an_event_that_passes_any_of_the_filters_is_seen_once(
        self, reading: Callable[..., Awaitable[Reader]], publish: Publish
    ) -> None:
        reader = await reading("g", A, B, {"channel": "whatsapp"})
        await publish(
            event("a"),
            event("b", "b", channel="whatsapp"),
            event("b of another channel", "b", channel="instagram"),
            event("a of two", channel="whatsapp"),
            event("c", "c"),
            event("last"),
        )
        await until(lambda: "last" in reader.ids and len(reader.ids) >= 4)
        assert sorted(reader.ids) == ["a", "a of two", "b", "last"]

    async def test_what_no_filter_lets_pass_is_read_all_the_same(
        self, reading: Callable[..., Awaitable[Reader]], publish: Publish
    ) -> None:
        reader = await reading()
        await publish(*(event(str(n), "c") for n in range(20)))
        await until(lambda: sum(reader.read.values()) == sum(reader.member.heads().values()) > 0)
        assert reader.ids == []

    async def test_who_comes_later_goes_on_where_the_group_has_committed(
        self, reading: Callable[..., Awaitable[Reader]], publish: Publish
    ) -> None:
        first = await reading()
        first.finishes = False
        await publish(*(event(str(n)) for n in range(10)))
        await until(lambda: len(first.ids) >= 10)
        await first.keep()
        await publish(*(event(str(n)) for n in range(10, 15)))
        await until(lambda: len(first.ids) >= 15)
        await first.stop()
        await publish(*(event(str(n)) for n in range(15, 20)))
        second = await reading()
        await until(lambda: len(second.ids) >= 10)
        assert sorted(second.ids) == sorted(numbers(10, start=10))

    async def test_members_share_the_partitions_and_who_gives_one_up_has_the_last_word(
        self, reading: Callable[..., Awaitable[Reader]], publish: Publish
    ) -> None:
        first = await reading()
        await publish(*(event(str(n)) for n in range(20)))
        await until(lambda: len(first.ids) >= 20)
        everything = set(first.partitions)
        second = await reading()
        await until(lambda: bool(second.partitions) and first.partitions | second.partitions == everything)
        assert not first.partitions & second.partitions
        assert {claim.partition for claim in first.let_go} == second.partitions
        await publish(*(event(str(n)) for n in range(20, 60)))
        await until(lambda: len(first.ids) + len(second.ids) >= 60)
        assert sorted(first.ids + second.ids) == sorted(numbers(60))
        assert second.ids

    async def test_what_was_not_finished_is_seen_again_by_the_next_holder(
        self, reading: Callable[..., Awaitable[Reader]], publish: Publish
    ) -> None:
        first = await reading()
        first.finishes = False
        await publish(*(event(str(n)) for n in range(20)))
        await until(lambda: len(first.ids) >= 20)
        await first.stop()
        second = await reading()
        await until(lambda: len(second.ids) >= 20)
        assert sorted(second.ids) == sorted(numbers(20))

    async def test_of_a_claim_that_ended_nothing_is_kept(
        self, reading: Callable[..., Awaitable[Reader]], publish: Publish
    ) -> None:
        first = await reading()
        first.finishes = False
        await publish(*(event(str(n)) for n in range(20)))
        await until(lambda: len(first.ids) >= 20)
        seen = dict(first.read)
        second = await reading()
        second.finishes = False
        await until(lambda: bool(second.ids))
        await first.keep({claim: read for claim, read in seen.items() if not claim.held})
        await first.stop()
        await second.stop()
        third = await reading()
        await until(lambda: len(third.ids) >= 20)
        assert sorted(third.ids) == sorted(numbers(20))

    async def test_heads_grow_with_the_partitions(
        self, reading: Callable[..., Awaitable[Reader]], publish: Publish
    ) -> None:
        reader = await reading()
        await until(lambda: bool(reader.member.heads()))
        before = sum(reader.member.heads().values())
        await publish(*(event(str(n), "c") for n in range(10)))
        await until(lambda: sum(reader.member.heads().values()) == before + 10)

    async def test_a_group_that_takes_over_begins_in_each_partition_where_the_hindmost_stood(
        self, reading: Callable[..., Awaitable[Reader]], publish: Publish
    ) -> None:
        """Nothing is lost when one group takes the place of several (ADR 29)."""
        ahead, behind = await reading("ahead"), await reading("behind")
        await publish(*(event(str(n)) for n in range(10)))
        await until(lambda: len(ahead.ids) >= 10 and len(behind.ids) >= 10)
        await behind.keep()
        behind.finishes = False
        await publish(*(event(str(n)) for n in range(10, 20)))
        await until(lambda: len(ahead.ids) >= 20)
        await ahead.stop()
        await behind.stop()
        await publish(event("20"))
        heir = await reading("heir", instead_of=["ahead", "behind", "nobody"])
        await until(lambda: len(heir.ids) >= 11)
        assert sorted(heir.ids) == sorted(numbers(11, start=10))
        await heir.stop()
        await publish(event("21"))
        again = await reading("heir", instead_of=["ahead", "behind", "nobody"])
        await until(lambda: "21" in again.ids)
        assert again.ids == ["21"]
