"""What every EventSink must do (shared.ports.event_sink). Subclass it, give ``sink`` and what came out of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from events import CATALOGUE, CloudEvent, Event, StatusReported, from_cloudevent
from events.vocabulary import Status
from shared.ports.event_sink import EventSink
from shared.testing.build import NOON, a_message_accepted, a_text, an_event, an_id

Delivered = Callable[[], Awaitable[Sequence[CloudEvent]]]


class EventSinkContract:
    """The broker may deliver an event more than once, so deliveries are counted by id."""

    @pytest.fixture
    async def sink(self) -> AsyncIterator[EventSink]:
        raise NotImplementedError("say how to open an EventSink")
        yield

    @pytest.fixture
    def delivered(self, sink: EventSink) -> Delivered:
        raise NotImplementedError("say how to learn what the broker delivered so far, oldest first")

    async def test_an_event_is_delivered_as_it_was_handed_over(self, sink: EventSink, delivered: Delivered) -> None:
        event = an_event(
            a_message_accepted(payload=a_text('ção 🙂 "%\n\u2028'), at=NOON + timedelta(milliseconds=1)),
            traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
        )
        await sink.emit(event)
        assert _typed(await delivered()) == [event]

    async def test_attributes_outside_ascii_arrive(self, sink: EventSink, delivered: Delivered) -> None:
        message = a_message_accepted(conversation="conversa/ção 🙂 100%")
        await sink.emit(an_event(message, tenant="açaí"))
        (cloudevent,) = await delivered()
        assert cloudevent.attributes["partitionkey"] == "conversa/ção 🙂 100%"
        assert cloudevent.attributes["tenant"] == "açaí"

    async def test_extension_attributes_that_triggers_filter_on_arrive(
        self, sink: EventSink, delivered: Delivered
    ) -> None:
        report = StatusReported(channel="whatsapp", status=Status.SENT, at=NOON, source="/tests", delivery_id="d1")
        await sink.emit(an_event(report))
        (cloudevent,) = await delivered()
        assert cloudevent.attributes["channel"] == "whatsapp"
        assert cloudevent.attributes["type"] == StatusReported.TYPE

    async def test_a_large_event_arrives_whole(self, sink: EventSink, delivered: Delivered) -> None:
        event = an_event(a_message_accepted(payload=a_text("ã" * 65_536)))
        await sink.emit(event)
        assert _typed(await delivered()) == [event]

    async def test_events_of_one_conversation_handed_over_together_keep_their_order(
        self, sink: EventSink, delivered: Delivered
    ) -> None:
        events = [an_event(a_message_accepted(f"m{n}", seq=n)) for n in range(1, 51)]
        await sink.emit(*events)
        assert _first_of_each(_typed(await delivered())) == events

    async def test_an_event_handed_over_again_keeps_its_id(self, sink: EventSink, delivered: Delivered) -> None:
        event = an_event()
        await sink.emit(event)
        await sink.emit(event)
        assert {one.id for one in _typed(await delivered())} == {event.id}

    async def test_handing_over_nothing_is_no_error(self, sink: EventSink, delivered: Delivered) -> None:
        await sink.emit()
        assert list(await delivered()) == []

    async def test_two_hundred_callers_at_once_lose_nothing(self, sink: EventSink, delivered: Delivered) -> None:
        await asyncio.gather(*(sink.emit(an_event(id=an_id(f"{n}"))) for n in range(200)))
        assert {event.id for event in _typed(await delivered())} == {an_id(f"{n}") for n in range(200)}


def _typed(cloudevents: Sequence[CloudEvent]) -> list[Event[Any]]:
    return [from_cloudevent(cloudevent, CATALOGUE) for cloudevent in cloudevents]


def _first_of_each(events: Sequence[Event[Any]]) -> list[Event[Any]]:
    return list({event.id: event for event in reversed(events)}.values())[::-1]
