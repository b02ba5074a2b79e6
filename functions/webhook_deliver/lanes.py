"""
How many tries this process makes at once, of whose webhooks, and which deliveries wait for one of them to end.

A try holds its place while its receiver is silent, so places are shared by a dynamic threshold (Choudhury and Hahne,
1998): of what is free a tenant may hold as much again, and each of its webhooks as much as the tenant could still get.
So whoever hangs never has the last place. Alone a tenant has half of them, two that hang have a third each, and one
that comes then still finds room. Each process judges for itself, because its places are what is shared.

What waits here is a hint: each has its entry on the due list, so that a process that dies, or a queue that is full,
costs time and nothing else.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from typing import TypeVar

from events import Event, WebhookRequested

K = TypeVar("K", bound=Hashable)
Lane = tuple[str, str]
"""Tenant and webhook_id."""
_MOST_WAITING = 1000  # in one lane


class Lanes:
    """``places``: tries at once, of all; ``of_one``: of one webhook."""

    def __init__(self, places: int, of_one: int) -> None:
        self._free, self._of_one = places, of_one
        self._tenants: Counter[str] = Counter()
        self._lanes: Counter[Lane] = Counter()
        self._waiting: OrderedDict[Lane, deque[Event[WebhookRequested]]] = OrderedDict()
        """Whoever had a turn goes to the end."""

    def enter(self, lane: Lane) -> bool:
        """Begin a try, if there is a place for it."""
        if not self._has_room(lane):
            return False
        self._free -= 1
        self._tenants[lane[0]] += 1
        self._lanes[lane] += 1
        return True

    def leave(self, lane: Lane) -> None:
        """The try has ended."""
        self._free += 1
        _less(self._tenants, lane[0])
        _less(self._lanes, lane)

    def wait(self, lane: Lane, event: Event[WebhookRequested]) -> None:
        """Have the event's delivery taken by whoever ends a try; the one that waited longest gives way."""
        self._waiting.setdefault(lane, deque(maxlen=_MOST_WAITING)).append(event)

    def next(self) -> Event[WebhookRequested] | None:
        """What waited longest where there is a place now; the webhooks that have one take turns."""
        lane = next((lane for lane in self._waiting if self._has_room(lane)), None)
        if lane is None:
            return None
        waiting = self._waiting.pop(lane)
        event = waiting.popleft()
        if waiting:
            self._waiting[lane] = waiting
        return event

    def _has_room(self, lane: Lane) -> bool:
        return self._lanes[lane] < min(self._of_one, self._free - self._tenants[lane[0]])


def _less(held: Counter[K], key: K) -> None:
    held[key] -= 1
    if not held[key]:
        del held[key]
