"""
What a function's host answers, and the one line it writes (design.md 5 and 13; E9).

The verdicts are those of the broker's table: done 204, again 503, dead 422, never a body.
"""

import asyncio
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from events import CloudEvent, DeliveryRequested, Event, EventData, MessageRead, TimerTicked
from shared.domain.errors import (
    Busy,
    Conflict,
    Invalid,
    NotFound,
    RateLimited,
    Refused,
    Rejected,
    Unanswered,
    Unavailable,
    Unknown,
)
from shared.observability.log import log as lines
from shared.observability.log import write_to
from shared.runtime.host import BODY_LIMIT, PING, FunctionHost
from shared.runtime.subscriber import Answer, HostedSubscriber, LocalSubscriber

AT = datetime(2026, 11, 21, 3, 14, 8, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
READ = Event(
    id="e1",
    source="/tests",
    tenant="acme",
    time=AT,
    traceparent=TRACE,
    data=MessageRead(
        message_id="7c8d76f1-0000-4000-8000-000000000001",
        conversation_id="c1",
        recipient="+5562999990000",
        channel="whatsapp",
        status="READ",  # type: ignore[arg-type]
        at=AT,
    ),
)


class StillClock:
    def now(self) -> datetime:
        return AT


@dataclass
class Reader:
    accepts: ClassVar[tuple[type[EventData], ...]] = (MessageRead, TimerTicked)

    error: Exception | None = None
    handled: list[Event[Any]] = field(default_factory=list)

    async def handle(self, event: Event[Any]) -> None:
        self.handled.append(event)
        if self.error:
            raise self.error


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    write_to(stream)
    yield stream


async def answer(function: Any, cloudevent: CloudEvent) -> Answer:
    return await post(function, *cloudevent.to_binary())


async def post(function: Any, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
    answered = await LocalSubscriber("http://f", FunctionHost("reader", function, StillClock())).post(
        headers, body, None
    )
    assert answered is not None
    return answered


async def test_a_function_gets_the_typed_event_in_a_span_of_its_own() -> None:
    function = Reader()
    assert await answer(function, READ.to_cloudevent()) == Answer(204, [], b"")
    (event,) = function.handled
    assert (event.id, event.tenant, event.time, event.data) == (READ.id, READ.tenant, READ.time, READ.data)
    trace, span = TRACE.split("-")[1:3]
    assert event.traceparent is not None
    assert event.traceparent.split("-")[1] == trace
    assert event.traceparent.split("-")[2] != span


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("bad"), 422),
        (NotFound(), 422),
        (Conflict(), 422),
        (Rejected("policy"), 422),
        (Unknown("uncertain"), 422),
        (Unavailable(), 503),
        (Unanswered(), 503),
        (RateLimited(), 503),
        (Busy("rate"), 503),
        (ValueError("a defect"), 503),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_an_error_is_dead_or_again_and_only_a_refusal_says_why(
    written: io.StringIO, error: Exception, status: int
) -> None:
    """What it says is the reason of the parked event; a defect's text stays here."""
    answered = await answer(Reader(error), READ.to_cloudevent())
    reason = f"{error.code}: {error.detail}".encode() if isinstance(error, Refused) else b""
    assert (answered.status, answered.body) == (status, reason)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([], b""),
        ([(b"content-type", b"application/json")], b'{"junk": true}'),
        ([(b"content-type", b"application/cloudevents+json")], b"{"),
        ([(b"content-type", b"application/cloudevents-batch+json")], b"[]"),
        (READ.to_cloudevent().to_binary()[0], b'{"message_id": 1}'),
        (READ.to_cloudevent().to_binary()[0], b"\xff\xfe"),
    ],
    ids=["nothing", "json", "broken", "batch", "off its schema", "no utf-8"],
)
async def test_what_is_no_event_of_ours_is_dead(
    written: io.StringIO, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    function = Reader()
    assert (await post(function, headers, body)).status == 422
    assert function.handled == []
    assert json.loads(written.getvalue())["message"] == "not an event for this function"


async def test_a_type_that_the_function_does_not_accept_is_dead(written: io.StringIO) -> None:
    class Other(Reader):
        accepts = (DeliveryRequested,)

    assert (await answer(Other(), READ.to_cloudevent())).status == 422


@pytest.mark.parametrize(
    "event",
    [
        READ.to_cloudevent(),
        CloudEvent({**READ.to_cloudevent().attributes, "type": "other"}, b"{}"),
        CloudEvent(READ.to_cloudevent().attributes, b'{"message_id": 1}'),
        CloudEvent(READ.to_cloudevent().attributes, b" " * (BODY_LIMIT + 1)),
        CloudEvent({**READ.to_cloudevent().attributes, "source": ""}, READ.to_cloudevent().data),
        CloudEvent({**READ.to_cloudevent().attributes, "Name": "x"}, READ.to_cloudevent().data),
        CloudEvent({}, b""),
    ],
    ids=["fine", "of another type", "off its schema", "too large", "without a source", "odd name", "nothing"],
)
async def test_an_event_that_is_there_is_answered_as_in_a_request(written: io.StringIO, event: CloudEvent) -> None:
    """The log and the real broker must not disagree on what is dead."""
    posted, taken = Reader(), Reader()
    host = FunctionHost("reader", taken, StillClock())
    assert await HostedSubscriber("http://f", host).call(event, [], None) == await answer(posted, event)
    assert [one.data for one in taken.handled] == [one.data for one in posted.handled]


async def test_a_tick_of_a_pingsource_is_a_timer_ticked() -> None:
    """A PingSource chooses neither its event's type nor its id."""
    function = Reader()
    ping = CloudEvent(
        {
            "specversion": "1.0",
            "id": "a16bc173",
            "source": "/apis/v1/namespaces/chat4all/pingsources/redrive",
            "type": PING,
            "time": "2026-11-21T03:14:00.000376745Z",
            "datacontenttype": "application/json",
            "timer": "redrive",
            "tenant": "-",
        },
        b'{"name": "redrive"}',
    )
    assert (await answer(function, ping)).status == 204
    assert function.handled[0].data == TimerTicked(name="redrive")


async def test_a_function_may_take_every_event_as_it_is() -> None:
    class Everything:
        accepts: ClassVar[tuple[type[CloudEvent]]] = (CloudEvent,)

        def __init__(self) -> None:
            self.handled: list[CloudEvent] = []

        async def handle(self, event: CloudEvent) -> None:
            self.handled.append(event)

    function = Everything()
    letter = CloudEvent({**READ.to_cloudevent().attributes, "knativeerrorcode": "422"}, b"anything")
    assert (await answer(function, letter)).status == 204
    assert dict(function.handled[0].attributes) == dict(letter.attributes)


async def test_a_body_over_one_mebibyte_is_413_and_never_handled(written: io.StringIO) -> None:
    function = Reader()
    assert (await post(function, READ.to_cloudevent().to_binary()[0], b" " * (BODY_LIMIT + 1))).status == 413
    assert function.handled == []


async def test_a_body_in_parts_is_one_event_and_half_a_body_is_none() -> None:
    function, body = Reader(), READ.to_cloudevent().data
    host = FunctionHost("reader", function, StillClock())
    scope = {"type": "http", "method": "POST", "path": "/", "headers": READ.to_cloudevent().to_binary()[0]}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def call(*messages: Any) -> None:
        remaining = iter(messages)

        async def receive() -> Any:
            return next(remaining)

        await host.handle(scope, receive, send)

    first = {"type": "http.request", "body": body[:10], "more_body": True}
    await call(first, {"type": "http.disconnect"})
    assert (function.handled, sent) == ([], [])
    await call(first, {"type": "http.request", "body": body[10:]})
    assert len(function.handled) == 1
    assert sent[0]["status"] == 204


async def test_anything_but_a_post_is_405() -> None:
    host = FunctionHost("reader", Reader(), StillClock())
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    await host.handle({"method": "GET", "headers": []}, receive, send)
    assert (sent[0]["status"], sent[0]["headers"]) == (405, [(b"allow", b"POST"), (b"content-length", b"0")])


async def test_one_line_says_all_about_one_event_and_nothing_private(written: io.StringIO) -> None:
    await answer(Reader(), READ.to_cloudevent())
    (line,) = written.getvalue().splitlines()
    facts = json.loads(line)
    assert facts.pop("ms") >= 0
    assert len(facts.pop("span_id")) == 16
    assert facts.pop("timestamp").endswith("Z")
    assert facts == {
        "level": "INFO",
        "service": "chat4all",
        "message": "event handled",
        "function": "reader",
        "event_id": "e1",
        "event_type": "chat4all.message.read.v1",
        "tenant": "acme",
        "message_id": "7c8d76f1-0000-4000-8000-000000000001",
        "conversation_id": "c1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "outcome": "done",
    }


async def test_what_was_refused_is_named_but_not_quoted(written: io.StringIO) -> None:
    await answer(Reader(Invalid("+5562999990000 is no address")), READ.to_cloudevent())
    assert "99999" not in written.getvalue()
    assert json.loads(written.getvalue())["why"] == "invalid"


async def test_a_defect_is_logged_with_its_traceback(written: io.StringIO) -> None:
    await answer(Reader(KeyError("defect")), READ.to_cloudevent())
    facts = json.loads(written.getvalue())
    assert (facts["level"], facts["error"], facts["outcome"]) == ("ERROR", "KeyError", "again")
    assert "raise self.error" in facts["traceback"]


async def test_what_a_function_logs_carries_the_context_of_its_own_event_only(written: io.StringIO) -> None:
    class Talker(Reader):
        async def handle(self, event: Event[Any]) -> None:
            await asyncio.sleep(0)
            lines.info("working")

    events = [Event(id=f"e{n}", source="/t", tenant=f"t{n}", time=AT, data=READ.data) for n in range(3)]
    await asyncio.gather(*(asyncio.create_task(answer(Talker(), event.to_cloudevent())) for event in events))
    working = [json.loads(line) for line in written.getvalue().splitlines() if "working" in line]
    assert [(line["event_id"], line["tenant"]) for line in working] == [("e0", "t0"), ("e1", "t1"), ("e2", "t2")]


async def test_a_dead_letter_sink_takes_what_the_log_holds_however_large(written: io.StringIO) -> None:
    """What it refused would hold its group back for ever."""

    class Sink:
        accepts: ClassVar[tuple[type[CloudEvent]]] = (CloudEvent,)

        def __init__(self) -> None:
            self.taken: list[CloudEvent] = []

        async def handle(self, event: CloudEvent) -> None:
            self.taken.append(event)

    sink = Sink()
    assert (await post(sink, READ.to_cloudevent().to_binary()[0], b'"' + b"x" * (2 * BODY_LIMIT) + b'"')).status == 204
    assert len(sink.taken) == 1
