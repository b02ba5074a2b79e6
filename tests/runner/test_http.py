"""The sink of a function on Knative; httpx's own transport answers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest

from events import Event, TimerTicked
from shared.adapters.http.event_sink import HttpEventSink
from shared.domain.errors import Unavailable

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]
TICK = Event(id="t1", source="/t", tenant="-", time=datetime(2026, 11, 21, tzinfo=UTC), data=TimerTicked(name="sweep"))


@asynccontextmanager
async def client(handler: Handler) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as opened:
        yield opened


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


@pytest.mark.parametrize("status", [200, 405])
async def test_a_broker_that_answers_is_there_whether_it_knows_options_or_not(status: int) -> None:
    asked: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(status)

    async with client(handler) as opened:
        await HttpEventSink("http://broker/ns/b", opened).ping()
    assert asked == ["OPTIONS"]


async def test_a_broker_that_does_not_answer_or_is_another_is_not_there() -> None:
    async def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async def another(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404)

    for handler, why in ((gone, "ConnectError"), (another, "404")):
        async with client(handler) as opened:
            with pytest.raises(Unavailable, match=why):
                await HttpEventSink("http://broker/ns/b", opened).ping()
