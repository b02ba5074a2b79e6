"""Services called by HTTP, over real sockets; the service is bytes, so that it can break off where it likes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from events import CloudEvent, Event, TimerTicked
from events.cloudevent import from_http
from shared.runtime.http_subscriber import HttpSubscriber, open_session
from shared.runtime.subscriber import Answer

TICK = Event(id="t1", source="/t", tenant="-", time=datetime(2026, 11, 21, tzinfo=UTC), data=TimerTicked(name="sweep"))
NOTHING = CloudEvent({"id": "t2", "source": "/t", "type": "t.v1", "specversion": "1.0"}, b"")
DONE = b"HTTP/1.1 204 No Content\r\n\r\n"
CLOSE = b""
"""What a service says that closes the connection instead."""

Say = Callable[[int], Awaitable[bytes]]
"""What is said to the n-th request, counted from 1."""


@dataclass
class Service:
    say: Say
    port: int = 0
    connections: int = 0
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
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                length = int(dict(self.headers(-1)).get(b"content-length", b"0"))
                self.bodies.append(await reader.readexactly(length))
                said = await self.say(len(self.heads))
                if said == CLOSE:
                    break
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
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
    async with server, open_session() as session:
        yield served, HttpSubscriber(served.url, session)


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
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await ask(always(DONE)) is not None


async def test_a_refused_connection_is_no_answer() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with open_session() as session:
            refused = HttpSubscriber(f"http://127.0.0.1:{free.getsockname()[1]}", session)
            assert await refused.call(TICK.to_cloudevent(), [], 10.0) is None


async def test_a_name_without_an_address_is_no_answer() -> None:
    async with open_session() as session:
        nowhere = HttpSubscriber("http://nowhere.invalid", session)
        assert await nowhere.call(TICK.to_cloudevent(), [], 30.0) is None


@pytest.mark.parametrize(
    "said", [CLOSE, b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhal"]
)
async def test_what_breaks_off_is_no_answer_and_asked_once(said: bytes) -> None:
    async def say(request: int) -> bytes:
        return said

    async with service(say) as (served, subscriber):
        cut = 0.5 if said.endswith(b"hal") else 10.0
        assert await subscriber.call(TICK.to_cloudevent(), [], cut) is None
    assert len(served.heads) == 1


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


async def test_a_kept_connection_that_is_closed_under_a_call_is_replaced() -> None:
    async def say(request: int) -> bytes:
        return CLOSE if request == 2 else DONE

    async with service(say) as (served, subscriber):
        answers = [await subscriber.call(TICK.to_cloudevent(), [], 10.0) for _ in range(2)]
    assert [answer and answer.status for answer in answers] == [204, 204]
    assert (len(served.heads), served.connections) == (3, 2)


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
