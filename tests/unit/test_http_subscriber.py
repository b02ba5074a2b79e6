"""Services called by HTTP, over real sockets; the service is bytes, so that it can break off where it likes."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from events import CloudEvent, Event, TimerTicked
from events.cloudevent import from_http
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.runtime.http_subscriber import HttpSubscriber, open_sessions
from shared.runtime.subscriber import Answer
from shared.runtime.trigger_runner import Pace, TriggerRunner
from shared.runtime.wiring import Delivery, Trigger

TICK = Event(id="t1", source="/t", tenant="-", time=datetime(2026, 11, 21, tzinfo=UTC), data=TimerTicked(name="sweep"))
NOTHING = CloudEvent({"id": "t2", "source": "/t", "type": "t.v1", "specversion": "1.0"}, b"")
DONE = b"HTTP/1.1 204 No Content\r\n\r\n"
CLOSE, RESET = b"", b"reset"
"""What a service says that closes the connection instead, or resets it."""
LINGER_NOT = struct.pack("ii", 1, 0)

Say = Callable[[int], Awaitable[bytes]]
"""What is said to the n-th request, counted from 1."""


@dataclass
class Service:
    say: Say
    port: int = 0
    connections: int = 0
    open: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def headers(self, request: int = 0) -> list[tuple[bytes, bytes]]:
        lines = self.heads[request].split(b"\r\n")[1:-2]
        return [(name.lower(), value) for name, value in (line.split(b": ", 1) for line in lines)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                length = int(dict(self.headers(-1)).get(b"content-length", b"0"))
                self.bodies.append(await reader.readexactly(length))
                said = await self.say(len(self.heads))
                if said == RESET:
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
                if said in (CLOSE, RESET):
                    break
                writer.write(said)
                if b"Connection: close" in said:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


def always(said: bytes) -> Say:
    async def say(_: int) -> bytes:
        return said

    return say


@asynccontextmanager
async def service(say: Say) -> AsyncIterator[tuple[Service, HttpSubscriber]]:
    served = Service(say)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    async with server, open_sessions() as sessions:
        yield served, HttpSubscriber(served.url, sessions)


async def ask(say: Say, within: float | None = 10.0) -> Answer | None:
    async with service(say) as (_, subscriber):
        return await subscriber.call(TICK.to_cloudevent(), [], within)


async def test_an_event_is_posted_in_binary_mode_and_the_answer_comes_back() -> None:
    said = b"HTTP/1.1 422 No\r\nX-Why: because\r\nX-Why: and\r\nContent-Length: 2\r\n\r\nno"
    async with service(always(said)) as (served, subscriber):
        answer = await subscriber.call(TICK.to_cloudevent(), [(b"prefer", b"reply")], 10.0)
    assert answer is not None
    assert (answer.status, answer.body) == (422, b"no")
    assert [value for name, value in answer.headers if name == b"x-why"] == [b"because", b"and"]
    assert served.heads[0].startswith(b"POST / HTTP/1.1\r\n")
    posted = from_http(served.headers(), served.bodies[0])
    assert (dict(posted.attributes), posted.data) == (dict(TICK.to_cloudevent().attributes), TICK.to_cloudevent().data)


async def test_nothing_is_told_that_nobody_asked_for() -> None:
    async with service(always(DONE)) as (served, subscriber):
        await subscriber.call(NOTHING, [(b"prefer", b"reply")], 10.0)
    names = {name for name, _ in served.headers() if not name.startswith(b"ce-")}
    # A client of HTTP says of a POST that it has no body (RFC 9110, 8.6).
    assert names == {b"host", b"prefer", b"content-length"}
    assert dict(served.headers())[b"content-length"] == b"0"


async def test_a_redirect_is_an_answer() -> None:
    answer = await ask(always(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"))
    assert answer is not None
    assert answer.status == 302


async def test_a_cookie_is_not_kept() -> None:
    said = b"HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\n\r\n"
    async with service(always(said)) as (served, subscriber):
        for _ in range(2):
            await subscriber.call(TICK.to_cloudevent(), [], 10.0)
    assert b"cookie" not in dict(served.headers(1))


async def test_a_body_is_taken_as_it_comes() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    answer = await ask(always(said))
    assert answer is not None
    assert answer.body == b"abc"


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await ask(always(DONE)) is not None


async def test_a_refused_connection_is_no_answer() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with open_sessions() as sessions:
            refused = HttpSubscriber(f"http://127.0.0.1:{free.getsockname()[1]}", sessions)
            assert await refused.call(TICK.to_cloudevent(), [], 10.0) is None


async def test_a_name_without_an_address_is_no_answer() -> None:
    async with open_sessions() as sessions:
        nowhere = HttpSubscriber("http://nowhere.invalid", sessions)
        assert await nowhere.call(TICK.to_cloudevent(), [], 30.0) is None


@pytest.mark.parametrize(
    "said",
    [CLOSE, RESET, b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhal"],
)
async def test_what_breaks_off_is_no_answer_and_asked_once(said: bytes) -> None:
    async with service(always(said)) as (served, subscriber):
        assert await subscriber.call(TICK.to_cloudevent(), [], 30.0) is None
    assert len(served.heads) == 1


@pytest.mark.parametrize(
    "odd", ["text/plain; a=\xe9", "text/plain; a=€", "text/plain\r\nx-a: b", "text/plain\n", "a\0"]
)
async def test_a_content_type_that_no_header_holds_breaks_nothing(odd: str) -> None:
    """The log may hold what was appended past every check; the next event is called as if nothing had been."""
    event = CloudEvent({**NOTHING.attributes, "datacontenttype": odd}, b"x")
    async with service(always(DONE)) as (served, subscriber):
        answers = [await subscriber.call(one, [], 10.0) for one in (event, NOTHING)]
    assert answers[1] == Answer(204, [], b"")
    assert not any(b"x-a" in head for head in served.heads)


async def test_a_group_goes_on_past_a_content_type_that_no_header_holds() -> None:
    log = MemoryRecordLog()
    sweep = Trigger("sweep", "chat4all", {"timer": "sweep"}, "sweep", Delivery(retry=0, timeout=5))
    async with service(always(DONE)) as (served, subscriber):
        runner = TriggerRunner([sweep], {"sweep": subscriber}, log, pace=Pace(calls=5, commit_every=0.01))
        await runner.start()
        tick = dict(TICK.to_cloudevent().attributes) | {"timer": "sweep"}
        for kind in ("application/json", "text/plain\r\nx-a: b", "text/plain; a=€", "application/json"):
            await log.append(CloudEvent(tick | {"datacontenttype": kind}, b"{}"))
        async with asyncio.timeout(10):
            while runner.standings()[0].committed < 4:  # noqa: ASYNC110  the runner tells nobody that it has committed
                await asyncio.sleep(0.01)
        assert runner.alive() == (True, "alive")
        await runner.stop()
    assert len(served.heads) == 2


async def test_a_slow_service_is_cut_at_the_timeout_and_waited_for_without_one() -> None:
    async def say(request: int) -> bytes:
        await asyncio.sleep(0.5)
        return DONE

    assert await ask(say, 0.05) is None
    waited = await ask(say, None)
    assert waited is not None
    assert waited.status == 204


async def test_a_connection_is_kept_and_calls_under_way_have_one_each() -> None:
    arrived = asyncio.Barrier(200)

    async def say(request: int) -> bytes:
        if request > 2:
            await arrived.wait()
        return DONE

    async with service(say) as (served, subscriber):
        for _ in range(2):
            await subscriber.call(TICK.to_cloudevent(), [], 10.0)
        assert served.connections == 1
        answers = await asyncio.gather(*(subscriber.call(TICK.to_cloudevent(), [], 30.0) for _ in range(200)))
    assert {answer and answer.status for answer in answers} == {204}
    assert served.connections == 200


async def test_a_burst_leaves_no_more_connections_than_calls_come_in_the_time_that_one_is_kept() -> None:
    """However long a trickle goes on: what waits longest is used next, so all of the burst's would be used in turn."""
    arrived = asyncio.Barrier(60)

    async def say(request: int) -> bytes:
        if request <= 60:
            await arrived.wait()
        return DONE

    async with service(say) as (served, subscriber):
        await asyncio.gather(*(subscriber.call(TICK.to_cloudevent(), [], 30.0) for _ in range(60)))
        assert served.open == 60
        for _ in range(30):
            await subscriber.call(TICK.to_cloudevent(), [], 10.0)
            await asyncio.sleep(0.1)
        assert served.open <= 15


@pytest.mark.parametrize("ends", [CLOSE, RESET])
async def test_a_kept_connection_that_is_closed_under_a_call_is_replaced_by_a_new_one(ends: bytes) -> None:
    """Not by another kept one: a service that restarts has closed them all."""
    arrived = asyncio.Barrier(3)

    async def say(request: int) -> bytes:
        if request <= 3:
            await arrived.wait()
        return ends if request == 4 else DONE

    async with service(say) as (served, subscriber):
        await asyncio.gather(*(subscriber.call(TICK.to_cloudevent(), [], 10.0) for _ in range(3)))
        answer = await subscriber.call(TICK.to_cloudevent(), [], 10.0)
    assert answer is not None
    assert answer.status == 204
    assert (len(served.heads), served.connections) == (5, 4)


async def test_a_service_that_closes_every_call_is_asked_twice_at_most() -> None:
    async def say(request: int) -> bytes:
        return DONE if request == 1 else CLOSE

    async with service(say) as (served, subscriber):
        await subscriber.call(TICK.to_cloudevent(), [], 10.0)
        assert await subscriber.call(TICK.to_cloudevent(), [], 10.0) is None
    assert len(served.heads) == 3


async def test_a_service_that_dies_over_an_event_is_not_asked_again_at_once() -> None:
    async def say(request: int) -> bytes:
        if request > 1:
            await asyncio.sleep(1.2)
        return DONE if request == 1 else CLOSE

    async with service(say) as (served, subscriber):
        await subscriber.call(TICK.to_cloudevent(), [], 10.0)
        assert await subscriber.call(TICK.to_cloudevent(), [], 10.0) is None
    assert len(served.heads) == 2


EMPTY = b"HTTP/1.1 200 OK\r\nDate: Tue, 01 Dec 2026 07:10:20 GMT\r\nContent-Length: 0\r\n\r\n"


async def test_an_empty_200_is_a_proxys_and_no_answer_the_first_one_too() -> None:
    async def say(request: int) -> bytes:
        return DONE if request == 2 else EMPTY

    async with service(say) as (_, subscriber):
        answers = [await subscriber.call(TICK.to_cloudevent(), [], 10.0) for _ in range(3)]
    assert [answer.status if answer else None for answer in answers] == [None, 204, None]


async def test_a_200_that_says_something_is_believed() -> None:
    typed = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    event = b"HTTP/1.1 200 OK\r\nce-id: 1\r\nContent-Length: 0\r\n\r\n"

    async def say(request: int) -> bytes:
        return (DONE, typed, said, event)[request - 1]

    async with service(say) as (_, subscriber):
        answers = [await subscriber.call(TICK.to_cloudevent(), [], 10.0) for _ in range(4)]
    assert [answer.status if answer else None for answer in answers] == [204, 200, 200, 200]
