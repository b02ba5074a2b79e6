"""
How many tries of each webhook this process makes at once, and which deliveries wait for one of them to end.

What waits here is a hint: each has its entry on the due list, so that a process that dies, or a queue that is full,
costs time and nothing else.
"""

from collections import deque
from dataclasses import dataclass, field

from events import Event, WebhookRequested

Lane = tuple[str, str]
"""Tenant and webhook_id."""
_MOST_WAITING = 1000  # in one lane


@dataclass(slots=True)
class _Lane:
    busy: int = 0
    waiting: deque[Event[WebhookRequested]] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))


class Lanes:
    def __init__(self) -> None:
        self._lanes: dict[Lane, _Lane] = {}

    def enter(self, lane: Lane, at_most: int) -> bool:
        """Begin a try, unless there are ``at_most``."""
        known = self._lanes.setdefault(lane, _Lane())
        if known.busy >= at_most:
            return False
        known.busy += 1
        return True

    def wait(self, lane: Lane, event: Event[WebhookRequested]) -> None:
        """Have the event's delivery taken by whoever ends a try; the one that waited longest gives way."""
        self._lanes.setdefault(lane, _Lane()).waiting.append(event)

    def next(self, lane: Lane) -> Event[WebhookRequested] | None:
        """What waited longest, if anything does."""
        known = self._lanes.get(lane)
        return known.waiting.popleft() if known is not None and known.waiting else None

    def leave(self, lane: Lane) -> None:
        known = self._lanes[lane]
        known.busy -= 1
        if not known.busy and not known.waiting:
            del self._lanes[lane]
