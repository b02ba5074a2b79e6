"""Fan-out to whoever is listening right now; nobody listening is no error, and nothing is kept."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Listening(Protocol):
    """Iterating gives (subject, frame) as they come, for ever."""

    @property
    def losses(self) -> int:
        """Grows whenever frames may have been lost: the bounded queue was full, the way here was interrupted."""
        ...

    def __aiter__(self) -> "Listening": ...

    async def __anext__(self) -> tuple[str, bytes]: ...

    async def add(self, *subjects: str) -> None:
        """Hear these too; what is published after it returns is heard. One that is heard already stays one."""
        ...

    async def remove(self, *subjects: str) -> None:
        """Hear these no longer; frames that wait in the queue still come."""
        ...


class FanOut(Protocol):
    async def publish(self, subject: str, frame: bytes) -> None:
        """Hand ``frame`` to every subscription of ``subject``; it never waits for a slow one."""
        ...

    def heard(self, subject: str) -> bool:
        """False when certainly nobody listens to it now, so that what would be published need not be made."""
        ...

    def subscribe(self, *subjects: str) -> AbstractAsyncContextManager[Listening]:
        """
        Frames published after entering. A subscriber that falls behind its bounded queue loses its oldest frames:
        readers find the gap in seq and fill it from the timeline.
        """
        ...
