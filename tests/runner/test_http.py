"""The HTTP subscriber of the servers mode, and the sink of a function on Knative; httpx's own transport answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest

from events import CloudEvent, Event, TimerTicked
from events.cloudevent import from_http
from shared.adapters.http.event_sink import HttpEventSink
from shared.domain.errors import Unavailable
from shared.runtime.subscriber import Answer, HttpSubscriber

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]
TICK = Event(id="t1", source="/t", tenant="-", time=datetime(2026, 11, 21, tzinfo=UTC), data=TimerTicked(name="sweep"))


@asynccontextmanager
async def client(handler: Handler) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as opened:
        yield opened


async def ask(handler: Handler, within: float | None = None) -> Answer | None:
    async with client(handler) as opened:
        return await HttpSubscriber("http://f.ns.svc", opened).call(TICK.to_cloudevent(), [], within)


async def test_an_event_is_posted_in_binary_mode_and_the_answer_comes_back() -> None:
    seen: list[CloudEvent] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(from_http([(name.lower(), value) for name, value in request.headers.raw], request.content))
        return httpx.Response(422, headers={"X-Why": "because"}, content=b"no")

    answer = await ask(handler)
    assert answer is not None
    assert (answer.status, answer.body) == (422, b"no")
    assert (b"x-why", b"because") in answer.headers
    assert [dict(event.attributes) for event in seen] == [dict(TICK.to_cloudevent().attributes)]


async def test_a_redirect_is_an_answer() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"location": "http://elsewhere/"})

    answer = await ask(handler)
    assert answer is not None
    assert answer.status == 302


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.RemoteProtocolError("closed")]
)
async def test_no_connection_and_a_closed_one_are_no_answer(error: httpx.TransportError) -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        raise error

    assert await ask(handler) is None


async def test_a_slow_service_is_cut_at_the_timeout_and_waited_for_without_one() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        return httpx.Response(204)

    before = asyncio.get_running_loop().time()
    assert await ask(handler, 2.0) is None
    assert asyncio.get_running_loop().time() - before == pytest.approx(2.0)
    waited = await ask(handler, None)
    assert waited is not None
    assert waited.status == 204


async def test_the_sink_posts_each_event_and_is_content_with_202() -> None:
    seen: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["ce-id"])
        return httpx.Response(202)

    async with client(handler) as opened:
        await HttpEventSink("http://broker/ns/b", opened).emit(TICK, TICK)
    assert seen == ["t1", "t1"]


@pytest.mark.parametrize("status", [400, 503])
async def test_an_event_that_the_broker_did_not_take_is_unavailable(status: int) -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status)

    async with client(handler) as opened:
        with pytest.raises(Unavailable, match=f"1 of 1 events: status {status}"):
            await HttpEventSink("http://broker/ns/b", opened).emit(TICK)


async def test_a_broker_that_cannot_be_reached_is_unavailable() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with client(handler) as opened:
        with pytest.raises(Unavailable, match="ConnectError"):
            await HttpEventSink("http://broker/ns/b", opened).append(TICK.to_cloudevent())
