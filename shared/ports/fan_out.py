"""Fan-out to whoever is listening right now; nobody listening is no error, and nothing is kept."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class FanOut(Protocol):
    async def publish(self, subject: str, frame: bytes) -> None:
        """Hand ``frame`` to every subscription of ``subject``; it never waits for a slow one."""
        ...

    def subscribe(self, *subjects: str) -> AbstractAsyncContextManager[AsyncIterator[tuple[str, bytes]]]:
        """
        Frames published after entering, as (subject, frame). A subscriber that falls behind its bounded queue
        loses its oldest frames: readers find the gap in seq and fill it from the timeline.
        """
        ...
