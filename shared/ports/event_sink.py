"""Handing events to the broker."""

from typing import Any, Protocol

from events import CloudEvent, Event


class EventSink(Protocol):
    async def emit(self, *events: Event[Any]) -> None:
        """
        Hand the events over; when this returns the broker will deliver each at least once.

        Raises:
            Unavailable: some may not have been taken; emit all again, their ids are the same.
        """
        ...

    async def append(self, *events: CloudEvent) -> None:
        """The same for events that are on the wire already: a replay, a wake-up that was kept."""
        ...
