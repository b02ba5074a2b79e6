"""
dead-letter: what the broker gave up is parked with its reason, and comes back by itself (C8, design.md 5).

Takes any event, as the dead letter sink of every Trigger; emits nothing. It must not fail: it reads attributes
only, never data. Attempts are counted in the table; when its schedule is used up an event waits for a person.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from events import CloudEvent
from shared.domain.backoff import PARKED_SCHEDULE, pause
from shared.observability import metrics
from shared.ports import Clock, EventSink, Ports
from shared.repositories.due import DueList
from shared.repositories.parked import Parked, ParkedEvent, parked_id
from shared.repositories.schema import PLATFORM

_ADDED_BY_THE_BROKER = ("knativeerrordest", "knativeerrorcode", "knativeerrordata")
_LONGEST_REASON = 500  # characters


def decide(event: CloudEvent, known: ParkedEvent | None, now: datetime) -> ParkedEvent:
    """
    The entry to keep; ``known`` is the one of the time before, if there was one.

    What was parked a moment ago is parked once more when the answer to that was lost, or when the broker delivered the
    event twice. That uses up none of its schedule; but it becomes due later, so that whoever hands it over meanwhile
    does not take this failure for the one before (Parked.replayed).
    """
    attributes = event.attributes
    attempts = _attempts(known, now)
    trigger = attributes.get("knativeerrordest", "unknown")
    wait = pause(attempts, attributes["id"], PARKED_SCHEDULE)
    due_at = None if wait is None else now + wait
    if known is not None and due_at is not None and due_at == known.due_at:
        due_at += timedelta(milliseconds=1)
    return ParkedEvent(
        parked_id=parked_id(event, trigger),
        trigger=trigger,
        reason=_reason(event),
        attempts=attempts,
        parked_at=now,
        due_at=due_at,
        event=_as_it_was(event),
    )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    accepts: ClassVar[tuple[type[CloudEvent]]] = (CloudEvent,)  # whatever comes, undecoded

    clock: Clock
    sink: EventSink
    parked: Parked
    due: DueList

    async def handle(self, event: CloudEvent) -> None:
        tenant = event.attributes.get("tenant", PLATFORM)
        trigger = event.attributes.get("knativeerrordest", "unknown")
        kept = False
        while not kept:
            known = await self.parked.get(tenant, parked_id(event, trigger))
            parked = decide(event, known, self.clock.now())
            if parked.due_at is not None:
                await self.due.add(tenant, parked.parked_id, parked.due_at, parked.event, kind="parked")
            kept = await self.parked.keep(tenant, parked, over=known)
        metrics.event_parked(tenant)

    async def replay(self, tenant: str, parked_id: str) -> bool:
        """Hand the event to the broker again; whether there was one."""
        parked = await self.parked.get(tenant, parked_id)
        if parked is None or parked.replayed_at is not None:
            return False
        await self.sink.append(parked.event)
        await self.parked.replayed(tenant, parked, self.clock.now())
        return True

    async def discard(self, tenant: str, parked_id: str) -> bool:
        """Forget the event; whether there was one."""
        parked = await self.parked.get(tenant, parked_id)
        if parked is None or parked.replayed_at is not None:
            return False
        await self.parked.discard(tenant, parked_id)
        return True


def _attempts(known: ParkedEvent | None, now: datetime) -> int:
    if known is None:
        return 1
    return known.attempts if _was_parked_just_now(known, now) else known.attempts + 1


def _was_parked_just_now(parked: ParkedEvent, now: datetime) -> bool:
    """Less than half its pause ago: by then no clock has woken it."""
    if parked.replayed_at is not None or parked.due_at is None:
        return False
    return now - parked.parked_at < (parked.due_at - parked.parked_at) / 2


def _reason(event: CloudEvent) -> str:
    code = event.attributes.get("knativeerrorcode")
    if code is None:
        return "no usable answer: a time-out, a lost connection, or a body that is no event"
    data = event.attributes.get("knativeerrordata", "")
    try:
        text = base64.b64decode(data, validate=True).decode(errors="replace")
    except (ValueError, binascii.Error):
        text = ""
    return f"answered {code} {text}".strip()[:_LONGEST_REASON]


def _as_it_was(event: CloudEvent) -> CloudEvent:
    attributes = {
        name: value
        for name, value in event.attributes.items()
        if name not in _ADDED_BY_THE_BROKER and not name.startswith("knativekafka")
    }
    return CloudEvent(attributes, event.data)


def new(ports: Ports) -> DeadLetter:
    return DeadLetter(
        clock=ports.clock,
        sink=ports.sink,
        parked=Parked(ports.tables),
        due=DueList(ports.tables, ports.clock),
    )
