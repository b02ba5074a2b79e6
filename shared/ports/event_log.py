"""What the broker keeps of the events: for operators who look back, and for those who follow live (CLI)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from events import CloudEvent

LOOK_BACK = 10_000
"""Events among which a tenant's newest are looked for, about: a quiet one finds its own beside a busy one."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """``offset`` grows with every event of the log, or of the partition; it has gaps after a trim."""

    offset: int
    event: CloudEvent
    partition: int = 0


class EventLog(Protocol):
    async def read(self, *, after: int, limit: int, wait: float = 0) -> Sequence[LoggedEvent]:
        """Events with a greater offset, oldest first; waits up to ``wait`` seconds for the first one."""
        ...

    async def latest(
        self, limit: int, *, before: int | None = None, tenant: str | None = None
    ) -> Sequence[LoggedEvent]:
        """
        The newest events, or the newest with an offset lower than ``before``; oldest of them first. A tenant's are
        looked for among the last ``LOOK_BACK`` only.
        """
        ...

    async def of_trace(self, trace_id: str, *, limit: int) -> Sequence[LoggedEvent]:
        """The kept events whose traceparent has this trace id, oldest first."""
        ...

    async def about(self, message_id: str, *, limit: int) -> Sequence[LoggedEvent]:
        """The kept events whose attributes name the message, oldest first."""
        ...


class RecordLog(Protocol):
    """What the trigger runner consumes: the same log, and how far each consumer group has come."""

    async def read(self, *, after: int, limit: int, wait: float = 0) -> Sequence[LoggedEvent]:
        """As EventLog.read; the newest records come from memory, without touching the disk."""
        ...

    async def append(self, *cloudevents: CloudEvent) -> None:
        """
        Add events as they are, of any type: what a subscriber replied with, what an integration published.

        Raises:
            Unavailable: some may not have been taken; append all again.
        """
        ...

    async def head(self) -> int:
        """The offset of the newest event, 0 when there was never one."""
        ...

    async def committed(self, group: str) -> int | None:
        """Where the consumer group goes on: everything up to this offset is done. None: never seen."""
        ...

    async def commit(self, group: str, offset: int) -> None:
        """
        Keep the group's offset; it never goes back. It may be lost in a crash: the events after the last
        kept one are delivered again.
        """
        ...
