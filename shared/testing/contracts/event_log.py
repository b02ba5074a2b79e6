"""What every EventLog must do (shared.ports.event_log). Subclass it and give ``log``, and ``emit`` into it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from events import CATALOGUE, Event, from_cloudevent
from shared.ports.event_log import EventLog, LoggedEvent
from shared.testing.build import a_message_accepted, a_text, an_event, an_id

Emit = Callable[..., Awaitable[None]]


def _trace(letter: str) -> str:
    return f"00-{letter * 32}-{'1' * 16}-01"


def _events(logged: Sequence[LoggedEvent]) -> list[Event[Any]]:
    return [from_cloudevent(one.event, CATALOGUE) for one in logged]


def _numbered(count: int) -> list[Event[Any]]:
    return [an_event(a_message_accepted(f"m{n}", seq=n)) for n in range(1, count + 1)]


class EventLogContract:
    @pytest.fixture
    async def log(self) -> AsyncIterator[EventLog]:
        raise NotImplementedError("say how to open an empty EventLog")
        yield

    @pytest.fixture
    def emit(self, log: EventLog) -> Emit:
        raise NotImplementedError("say how events get into the log")

    async def test_an_empty_log_has_nothing_to_tell(self, log: EventLog) -> None:
        assert list(await log.read(after=0, limit=10)) == []
        assert list(await log.latest(10)) == []
        assert list(await log.of_trace("a" * 32, limit=10)) == []
        assert list(await log.about(an_id("m1"), limit=10)) == []

    async def test_events_are_kept_as_they_were_in_the_order_they_came(self, log: EventLog, emit: Emit) -> None:
        events = [an_event(a_message_accepted("m1", payload=a_text("ção 🙂\n" + "x" * 65_536))), *_numbered(3)[1:]]
        await emit(events[0])
        await emit(*events[1:])
        logged = await log.read(after=0, limit=10)
        assert _events(logged) == events
        offsets = [one.offset for one in logged]
        assert offsets == sorted(set(offsets))

    async def test_reading_goes_on_after_an_offset_page_by_page(self, log: EventLog, emit: Emit) -> None:
        events = _numbered(25)
        await emit(*events)
        seen: list[LoggedEvent] = []
        while page := await log.read(after=seen[-1].offset if seen else 0, limit=7):
            assert len(page) <= 7
            seen += page
        assert _events(seen) == events

    async def test_the_latest_come_oldest_first(self, log: EventLog, emit: Emit) -> None:
        events = _numbered(9)
        await emit(*events)
        assert _events(await log.latest(4)) == events[-4:]
        assert _events(await log.latest(100)) == events

    async def test_looking_back_goes_on_before_an_offset(self, log: EventLog, emit: Emit) -> None:
        events = _numbered(9)
        await emit(*events)
        newest = await log.latest(4)
        older = await log.latest(4, before=newest[0].offset)
        assert _events(older) == events[1:5]
        assert list(await log.latest(4, before=(await log.latest(9))[0].offset)) == []

    async def test_the_latest_of_a_tenant_are_found_among_those_of_others(self, log: EventLog, emit: Emit) -> None:
        ours = [replace(event, tenant="quiet") for event in _numbered(9)]
        for event in ours:
            await emit(event, *(replace(other, tenant="busy") for other in _numbered(20)))
        found = await log.latest(4, tenant="quiet")
        assert _events(found) == ours[-4:]
        assert _events(await log.latest(100, tenant="quiet")) == ours
        assert list(await log.latest(100, tenant="nobody")) == []
        assert list(await log.latest(0, tenant="quiet")) == []
        quiet = [one for one in await log.read(after=0, limit=1000) if one.event.attributes["tenant"] == "quiet"]
        assert quiet[-4:] == list(found)
        assert list(await log.latest(4, before=quiet[6].offset, tenant="quiet")) == quiet[2:6]
        assert list(await log.latest(4, before=quiet[6].offset + 1, tenant="quiet")) == quiet[3:7]

    async def test_who_goes_on_after_any_event_finds_the_rest(self, log: EventLog, emit: Emit) -> None:
        """However many are before it, and however many come after."""
        await emit(*_numbered(500))
        whole = await log.read(after=0, limit=1000)
        for at in (0, 1, 250, 498):
            assert list(await log.read(after=whole[at].offset, limit=10)) == list(whole)[at + 1 : at + 11]

    async def test_a_reader_that_waits_is_told_when_an_event_comes(self, log: EventLog, emit: Emit) -> None:
        (event,) = _numbered(1)
        waiting = asyncio.ensure_future(log.read(after=0, limit=10, wait=30))
        await asyncio.sleep(0)
        await emit(event)
        assert _events(await waiting) == [event]

    async def test_a_reader_that_waits_for_nothing_gets_nothing(self, log: EventLog, emit: Emit) -> None:
        await emit(*_numbered(2))
        (*_, last) = await log.read(after=0, limit=10)
        assert list(await log.read(after=last.offset, limit=10, wait=0.02)) == []

    async def test_a_trace_finds_its_events_and_no_others(self, log: EventLog, emit: Emit) -> None:
        ours = [an_event(a_message_accepted(f"o{n}"), traceparent=_trace("a")) for n in range(5)]
        others = [an_event(a_message_accepted(f"t{n}"), traceparent=_trace("b")) for n in range(5)]
        for mine, other in zip(ours, others, strict=True):
            await emit(mine, other, an_event(a_message_accepted(f"u{other.id}")))
        assert _events(await log.of_trace("a" * 32, limit=100)) == ours
        assert _events(await log.of_trace("a" * 32, limit=2)) == ours[:2]
        assert list(await log.of_trace("c" * 32, limit=100)) == []

    async def test_a_message_finds_the_events_that_name_it(self, log: EventLog, emit: Emit) -> None:
        events = _numbered(6)
        await emit(*events)
        assert _events(await log.about(an_id("m3"), limit=10)) == [events[2]]
        assert list(await log.about(an_id("nobody"), limit=10)) == []

    async def test_two_hundred_writers_at_once_lose_nothing(self, log: EventLog, emit: Emit) -> None:
        events = _numbered(200)
        await asyncio.gather(*(emit(event) for event in events))
        logged = await log.read(after=0, limit=1000)
        assert {event.id for event in _events(logged)} == {event.id for event in events}
        assert len({one.offset for one in logged}) == 200
