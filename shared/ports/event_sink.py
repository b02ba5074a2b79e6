"""Handing events to the broker."""

from typing import Any, Protocol

from events import CloudEvent, Event

LARGEST_EVENT = 1_048_576
"""Bytes, attributes included: the limit of Kafka, and of Knative's Broker over it."""


class EventSink(Protocol):
    async def emit(self, *events: Event[Any]) -> None:
        """
        Hand the events over; when this returns the broker will deliver each at least once.

        Raises:
            Unavailable: some may not have been taken; emit all again, their ids are the same.
            Refused: the broker will never take one of them, such as TooLarge; others may have been taken.
        """
        ...

    async def append(self, *events: CloudEvent) -> None:
        """The same for events that are on the wire already: a replay, a wake-up that was kept."""
        ...
