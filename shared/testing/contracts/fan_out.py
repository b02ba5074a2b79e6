"""What every FanOut must do (shared.ports.fan_out). Subclass it and say how to open one."""

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from shared.ports.fan_out import FanOut, Listening


async def _take(frames: Listening, count: int) -> list[tuple[str, bytes]]:
    async with asyncio.timeout(10):
        return [await anext(frames) for _ in range(count)]


class FanOutContract:
    capacity: ClassVar[int]
    """How many frames a subscriber of ``fan_out`` may be behind."""

    @pytest.fixture
    async def fan_out(self) -> AsyncIterator[FanOut]:
        raise NotImplementedError("say how to open a FanOut")
        yield

    async def test_nobody_listening_is_no_error(self, fan_out: FanOut) -> None:
        await fan_out.publish("acme.alice", b"1")

    async def test_what_somebody_listens_to_is_heard(self, fan_out: FanOut) -> None:
        async with fan_out.subscribe("acme.alice") as frames:
            assert fan_out.heard("acme.alice")
            await frames.add("acme.bob")
            assert fan_out.heard("acme.bob")

    @pytest.mark.parametrize("frame", [b"", b"\x00\xff\r\n", "ção 🙂".encode(), bytes(65_536)])
    async def test_a_frame_arrives_as_it_was_published(self, fan_out: FanOut, frame: bytes) -> None:
        async with fan_out.subscribe("acme.alice") as frames:
            await fan_out.publish("acme.alice", frame)
            assert await _take(frames, 1) == [("acme.alice", frame)]

    async def test_a_subscriber_hears_what_is_published_after_it_came(self, fan_out: FanOut) -> None:
        await fan_out.publish("acme.alice", b"before")
        async with fan_out.subscribe("acme.alice") as frames:
            await fan_out.publish("acme.alice", b"after")
            assert await _take(frames, 1) == [("acme.alice", b"after")]

    async def test_frames_of_a_subject_keep_their_order(self, fan_out: FanOut) -> None:
        async with fan_out.subscribe("acme.alice") as frames:
            for n in range(self.capacity):
                await fan_out.publish("acme.alice", b"%d" % n)
            assert [frame for _, frame in await _take(frames, self.capacity)] == [
                b"%d" % n for n in range(self.capacity)
            ]

    async def test_every_subscriber_gets_every_frame(self, fan_out: FanOut) -> None:
        async with fan_out.subscribe("acme.alice") as one, fan_out.subscribe("acme.alice") as two:
            await fan_out.publish("acme.alice", b"1")
            assert await _take(one, 1) == await _take(two, 1) == [("acme.alice", b"1")]

    async def test_one_subscription_may_be_of_several_subjects(self, fan_out: FanOut) -> None:
        async with fan_out.subscribe("acme.alice", "acme.bob", "acme.alice") as frames:
            await fan_out.publish("acme.bob", b"1")
            assert await _take(frames, 1) == [("acme.bob", b"1")]
            await fan_out.publish("acme.alice", b"2")
            await fan_out.publish("acme.bob", b"3")
            assert set(await _take(frames, 2)) == {("acme.alice", b"2"), ("acme.bob", b"3")}

    async def test_other_subjects_and_tenants_are_not_heard(self, fan_out: FanOut) -> None:
        async with fan_out.subscribe("acme.alice") as frames:
            for subject in ("umbrella.alice", "acme.bob", "acme", "acme.alice.phone", "acme.alic"):
                await fan_out.publish(subject, b"not for her")
            await fan_out.publish("acme.alice", b"for her")
            assert await _take(frames, 1) == [("acme.alice", b"for her")]

    async def test_a_reader_waits_for_the_next_frame(self, fan_out: FanOut) -> None:
        async with fan_out.subscribe("acme.alice") as frames:
            waiting = asyncio.ensure_future(_take(frames, 2))
            for frame in (b"1", b"2"):
                await asyncio.sleep(0)
                await fan_out.publish("acme.alice", frame)
            assert [frame for _, frame in await waiting] == [b"1", b"2"]

    async def test_a_reader_that_gave_up_waiting_can_read_on(self, fan_out: FanOut) -> None:
        async with fan_out.subscribe("acme.alice") as frames:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(frames)
            await fan_out.publish("acme.alice", b"1")
            assert await _take(frames, 1) == [("acme.alice", b"1")]

    async def test_a_slow_subscriber_loses_its_oldest_frames_and_delays_nobody(self, fan_out: FanOut) -> None:
        total = 3 * self.capacity
        async with fan_out.subscribe("acme.alice") as slow, fan_out.subscribe("acme.alice") as quick:
            before = slow.losses, quick.losses
            for n in range(total):
                await fan_out.publish("acme.alice", b"%d" % n)
                assert await _take(quick, 1) == [("acme.alice", b"%d" % n)]
            kept = [int(frame) for _, frame in await _take(slow, self.capacity)]
            assert slow.losses > before[0]
            assert quick.losses == before[1]
        assert kept == sorted(kept)
        assert kept[-1] == total - 1

    async def test_subjects_come_and_go_while_it_listens(self, fan_out: FanOut) -> None:
        async with fan_out.subscribe("acme.alice") as frames, fan_out.subscribe("acme.bob") as other:
            await frames.add("acme.bob", "acme.alice")
            await fan_out.publish("acme.bob", b"1")
            assert await _take(frames, 1) == [("acme.bob", b"1")]
            await frames.remove("acme.bob", "acme.carla")
            await fan_out.publish("acme.bob", b"2")
            await fan_out.publish("acme.alice", b"3")
            assert await _take(frames, 1) == [("acme.alice", b"3")]
            assert await _take(other, 2) == [("acme.bob", b"1"), ("acme.bob", b"2")]
            assert frames.losses == other.losses

    async def test_two_hundred_publishers_at_once_are_all_heard(self, fan_out: FanOut) -> None:
        subjects = [f"acme.user{n}" for n in range(200)]
        async with fan_out.subscribe(*subjects) as frames:
            heard: set[tuple[str, bytes]] = set()
            for start in range(0, 200, self.capacity):
                some = subjects[start : start + self.capacity]
                await asyncio.gather(*(fan_out.publish(subject, subject.encode()) for subject in some))
                heard.update(await _take(frames, len(some)))
        assert heard == {(subject, subject.encode()) for subject in subjects}
