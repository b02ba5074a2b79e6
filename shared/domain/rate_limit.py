"""
How many requests may come in how long a time: the generic cell rate algorithm (ITU-T I.371; E11).

All that is kept of a caller is one moment, the one at which everything it asked for until now would have come
evenly. A caller may be ahead of it by the whole quota, and then gets one more each ``Quota.interval``.
"""

from dataclasses import dataclass
from typing import NamedTuple

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Quota:
    """``requests`` (at least 1) in each ``window`` of seconds."""

    requests: int
    window: int = 60

    @property
    def interval(self) -> int:
        """Microseconds between two requests that come evenly."""
        return max(1, self.window * MICROSECONDS // self.requests)

    def divided(self, parts: int) -> "Quota":
        """What each of so many gets of it, at least one request."""
        return Quota(max(1, self.requests // parts), self.window)


class Standing(NamedTuple):
    """
    Where a caller is after a request. ``remaining``: how many more would be admitted now; ``wait``: seconds until the
    next would be, 0 if at once; ``reset``: seconds until the whole quota is there again.
    """

    admitted: bool
    remaining: int
    wait: float
    reset: float


def admit(even: int | None, now: int, quota: Quota) -> tuple[int, Standing]:
    """
    One request at ``now``. Whole microseconds of any clock that does not go back.

    Args:
        even: what this function returned for the last request; None for the first.

    Returns: what to keep until it is in the past, and the caller's standing.

    >>> kept, first = admit(None, 0, Quota(2, window=60))
    >>> kept, second = admit(kept, 0, Quota(2, window=60))
    >>> first.remaining, second.remaining, admit(kept, 0, Quota(2, window=60))[1]
    (1, 0, Standing(admitted=False, remaining=0, wait=30.0, reset=60.0))
    """
    interval = quota.interval
    ahead = max(even or 0, now) - now
    room = interval * quota.requests - ahead
    admitted = room >= interval
    if admitted:
        ahead, room = ahead + interval, room - interval
    return now + ahead, standing(admitted, ahead, quota)


def standing(admitted: bool, ahead: int, quota: Quota) -> Standing:
    """What is said of a caller that is ``ahead`` by so many microseconds, this request included if admitted."""
    interval = quota.interval
    room = interval * quota.requests - ahead
    wait = max(0, interval - room) / MICROSECONDS
    return Standing(admitted, max(0, room // interval), wait, ahead / MICROSECONDS)
