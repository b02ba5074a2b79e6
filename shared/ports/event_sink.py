"""Handing events to the broker."""

from typing import Any, Protocol

from events import Event


class EventSink(Protocol):
    async def emit(self, *events: Event[Any]) -> None:
        """
        Hand the events over; when this returns the broker will deliver each at least once.

        Raises:
            Unavailable: some may not have been taken; emit all again, their ids are the same.
        """
        ...
