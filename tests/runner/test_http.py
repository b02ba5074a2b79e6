"""The sink of a function on Knative; httpx's own transport answers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest

from events import CloudEvent, Event, TimerTicked
from shared.adapters.http.event_sink import HttpEventSink
from shared.domain.errors import Refused, TooLarge, Unavailable
from shared.ports.event_sink import LARGEST_EVENT

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


@pytest.mark.parametrize("status", [404, 429, 503])
async def test_an_event_that_the_broker_did_not_take_is_unavailable(status: int) -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status)

    async with client(handler) as opened:
        with pytest.raises(Unavailable, match=f"1 of 1 events: status {status}"):
            await HttpEventSink("http://broker/ns/b", opened).emit(TICK)


@pytest.mark.parametrize(("status", "refusal"), [(400, Refused), (413, TooLarge)])
async def test_an_event_that_the_broker_will_never_take_is_refused(status: int, refusal: type[Refused]) -> None:
    """Called Unavailable it would be handed over again and again, by all who keep promises."""

    async def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status)

    async with client(handler) as opened:
        with pytest.raises(refusal):
            await HttpEventSink("http://broker/ns/b", opened).emit(TICK)


async def test_of_events_of_which_one_may_be_taken_later_nothing_is_refused_for_good() -> None:
    answers = iter([413, 503, 202])

    async def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(next(answers))

    async with client(handler) as opened:
        with pytest.raises(Unavailable, match="1 of 3 events: status 503"):
            await HttpEventSink("http://broker/ns/b", opened).emit(TICK, TICK, TICK)


async def test_an_event_above_the_broker_s_limit_is_not_sent() -> None:
    """Knative's broker for Kafka answers 503 to it, as if it were away."""
    seen: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["ce-id"])
        return httpx.Response(202)

    wire = TICK.to_cloudevent()
    async with client(handler) as opened:
        sink = HttpEventSink("http://broker/ns/b", opened)
        with pytest.raises(TooLarge):
            await sink.append(wire, CloudEvent(wire.attributes, b" " * LARGEST_EVENT))
        assert seen == []
        await sink.append(CloudEvent(wire.attributes, b" " * (LARGEST_EVENT - 1000)))
    assert seen == ["t1"]


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
