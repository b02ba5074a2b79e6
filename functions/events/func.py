"""
events: events come in from integrations, and operators look at those that were.

Takes HTTP (http.py): POST /v1/events, a CloudEvent of a type that may be asked for from outside; emits
chat4all.message.send.requested.v1, chat4all.file.initiate.requested.v1 or chat4all.file.complete.requested.v1 as it
came.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from msgspec import structs

from events import (
    BadEvent,
    CloudEvent,
    Event,
    EventData,
    FileCompleteRequested,
    FileInitiateRequested,
    MessageSendRequested,
    from_cloudevent,
)
from events.vocabulary import rfc3339
from shared.domain.errors import Invalid
from shared.domain.message import message_id
from shared.ports import Clock, EventLog, EventSink, Ports
from shared.ports.event_log import LoggedEvent

Command = MessageSendRequested | FileInitiateRequested | FileCompleteRequested
COMMANDS: dict[str, type[EventData]] = {
    model.TYPE: model for model in (MessageSendRequested, FileInitiateRequested, FileCompleteRequested)
}
"""What may come from outside; everything else is a fact that only our functions state."""


def decide(cloudevent: CloudEvent, tenant: str, now: str, traceparent: str) -> Event[Command]:
    """
    The event as it goes on: of the caller's tenant, whatever it said itself.

    Raises:
        Invalid: not a type that may be sent here, data that breaks its schema, or a file_id that is no UUID.
    """
    attributes = {"time": now, "traceparent": traceparent, **cloudevent.attributes, "tenant": tenant}
    if attributes["type"] not in COMMANDS:
        raise Invalid(f"events of type {attributes['type']!r} cannot be sent here; use {', '.join(COMMANDS)}")
    try:
        event: Event[Command] = from_cloudevent(CloudEvent(attributes, cloudevent.data), COMMANDS)
    except BadEvent as error:
        raise Invalid(str(error)) from None
    if isinstance(event.data, MessageSendRequested) or event.data.file_id is None:
        return event
    file_id = message_id(event.data.file_id, "", pointer="/data/file_id")
    return replace(event, data=structs.replace(event.data, file_id=file_id))


@dataclass(frozen=True, slots=True)
class Looked:
    """Events, oldest first, and the offset to follow on from; None when the log is empty."""

    events: Sequence[LoggedEvent]
    position: int | None


@dataclass(frozen=True, slots=True)
class EventDesk:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    clock: Clock
    sink: EventSink
    log: EventLog

    async def take(self, tenant: str, cloudevent: CloudEvent, sender: str | None, traceparent: str) -> str:
        """
        Hand the event to the broker; its id.

        Args:
            sender: the user whose token it came with; None: a client, which may send for any user.

        Raises:
            Invalid: see ``decide``; also when a user's token names another sender.
        """
        event = decide(cloudevent, tenant, rfc3339(self.clock.now()), traceparent)
        if sender is not None:
            if event.data.sender not in (None, sender):
                raise Invalid(errors=[{"pointer": "/data/from", "detail": f"this token sends only as {sender!r}"}])
            event = replace(event, data=structs.replace(event.data, sender=sender))
        elif event.data.sender is None:
            raise Invalid(errors=[{"pointer": "/data/from", "detail": "say who sends"}])
        await self.sink.emit(replace(event, traceparent=event.traceparent or traceparent))
        return event.id

    async def read(self, tenant: str, *, after: int | None, limit: int, wait: float) -> Looked:
        """The tenant's events after an offset, or its newest; the log holds those of others too."""
        if after is not None:
            read = await self.log.read(after=after, limit=limit, wait=wait)
            return Looked(_of_tenant(read, tenant), read[-1].offset if read else after)
        newest = await self.log.latest(1)
        if not newest:
            return Looked([], None)
        position = newest[0].offset
        return Looked(await self.log.latest(limit, before=position + 1, tenant=tenant), position)

    async def chain(self, tenant: str, *, trace_id: str | None, message_id: str | None) -> list[LoggedEvent]:
        """The kept events of a trace, or of the trace that a message began."""
        if message_id is not None:
            about = await self.log.about(message_id, limit=_CHAIN)
            traces = {trace_of(one.event) for one in about if one.event.attributes.get("tenant") == tenant}
            found = {one.offset: one for one in about}
            for trace in traces - {None}:
                found |= {one.offset: one for one in await self.log.of_trace(str(trace), limit=_CHAIN)}
            logged = [found[offset] for offset in sorted(found)]
        else:
            logged = list(await self.log.of_trace(str(trace_id), limit=_CHAIN))
        return _of_tenant(logged, tenant)


_CHAIN = 1000  # events of one trace


def _of_tenant(logged: Iterable[LoggedEvent], tenant: str) -> list[LoggedEvent]:
    return [one for one in logged if one.event.attributes.get("tenant") == tenant]


def trace_of(event: CloudEvent) -> str | None:
    parts = event.attributes.get("traceparent", "").split("-")
    return parts[1] if len(parts) == 4 else None


def new(ports: Ports) -> EventDesk:
    return EventDesk(clock=ports.clock, sink=ports.sink, log=ports.log)
