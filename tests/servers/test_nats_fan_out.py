"""Fan-out between processes: away, back, slow, and ids that look like NATS' own syntax (A8, faults 15)."""

import asyncio
from urllib.parse import urlsplit

import pytest

from shared.adapters.nats.fan_out import NatsFanOut
from shared.observability import metrics
from shared.testing import real_engines
from shared.testing.proxy import proxy

pytestmark = pytest.mark.real("nats")

AWKWARD = [
    "acme.conversation.*",
    "acme.conversation.>",
    "acme.>",
    "*",
    ">",
    "a b\tc\r\nPUB x 1\r\nx",
    "acme.conversation.ção 🙂 100%2E",
    "acme.conversation.ção 🙂 100.",
    "..",
    "_INBOX.x",
    "$SYS.x",
    "x" * 5000,
    "x" * 5001,
]


@pytest.fixture
def address():
    parts = urlsplit(real_engines.address("nats"))
    return parts.hostname, parts.port


@pytest.fixture
async def way(address):
    async with proxy(*address) as made:
        yield made


@pytest.fixture
async def far():
    """Another process."""
    async with real_engines.nats_fan_out() as fan_out:
        yield fan_out


@pytest.fixture
async def near(way):
    fan_out = NatsFanOut(f"nats://127.0.0.1:{way.port}", waiting=5)
    await fan_out.start()
    await fan_out.connected()
    yield fan_out
    await fan_out.close()


async def take(frames, count):
    async with asyncio.timeout(10):
        return [(await anext(frames))[1] for _ in range(count)]


async def back(fan_out):
    async with asyncio.timeout(15):
        while True:
            try:
                return await fan_out.ping()
            except OSError:
                await asyncio.sleep(0.02)


async def gone(fan_out):
    async with asyncio.timeout(15):
        while True:
            try:
                await fan_out.ping()
            except OSError:
                return
            await asyncio.sleep(0.01)


async def test_another_process_hears_it(near, far):
    async with far.subscribe("acme.alice") as frames:
        await near.publish("acme.alice", b"1")
        assert await take(frames, 1) == [b"1"]


async def test_what_another_process_publishes_once_it_is_subscribed_is_heard(far):
    async with real_engines.nats_fan_out() as other:
        for n in range(300):
            async with far.subscribe(f"acme.{n}") as frames:
                await other.publish(f"acme.{n}", b"1")
                assert await take(frames, 1) == [b"1"]


async def test_ids_that_look_like_syntax_name_themselves_only(near, far):
    for mine in AWKWARD:
        async with far.subscribe(mine) as frames:
            for other in AWKWARD:
                if other != mine:
                    await near.publish(other, b"not mine")
            await near.publish(mine, mine.encode())
            assert await take(frames, 1) == [mine.encode()]


async def test_the_newest_frames_wait_while_it_is_away_and_subscriptions_come_back(near, far, way):
    dropped = metrics.frames_dropped._value.get()
    async with near.subscribe("acme.alice") as mine, far.subscribe("acme.bob") as theirs:
        await way.cut()
        await gone(near)
        for n in range(8):
            await near.publish("acme.bob", b"%d" % n)
        async with near.subscribe("acme.carla") as late:
            await way.start()
            await back(near)
            assert await take(theirs, 5) == [b"3", b"4", b"5", b"6", b"7"]
            assert metrics.frames_dropped._value.get() - dropped == 3
            await far.publish("acme.alice", b"again")
            assert await take(mine, 1) == [b"again"]
            await far.publish("acme.carla", b"late")
            assert await take(late, 1) == [b"late"]


async def test_one_that_is_not_there_at_the_start_is_waited_for(way, far):
    await way.cut()
    near = NatsFanOut(f"nats://127.0.0.1:{way.port}")
    await near.start()
    async with near.subscribe("acme.alice") as frames, far.subscribe("acme.bob") as theirs:
        await near.publish("acme.bob", b"early")
        with pytest.raises(OSError):
            await near.ping()
        await way.start()
        await near.connected()
        assert await take(theirs, 1) == [b"early"]
        await far.publish("acme.alice", b"1")
        assert await take(frames, 1) == [b"1"]
    await near.close()


async def test_the_last_listener_that_goes_ends_the_subscription(near, far):
    async with near.subscribe("acme.alice") as frames:
        async with near.subscribe("acme.alice"):
            pass
        await far.publish("acme.alice", b"1")
        assert await take(frames, 1) == [b"1"]
    assert near._client._subs == {}


async def test_a_frame_that_nats_does_not_take_is_dropped_and_harms_no_other(near, far):
    async with far.subscribe("acme.alice") as frames:
        await near.publish("acme.alice", bytes(2_000_000))
        await near.publish("acme.alice", b"1")
        assert await take(frames, 1) == [b"1"]
