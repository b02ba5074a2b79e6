"""How long to wait before trying again, in the second layer of retries: minutes to days (design.md 5)."""

from collections.abc import Sequence
from datetime import timedelta
from zlib import crc32

DELIVERY_SCHEDULE = tuple(
    timedelta(seconds=seconds) for seconds in (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 43200)
)
"""Pauses after the first, second … call that a provider put off; about 28 hours in all, then FAILED."""

PARKED_SCHEDULE = tuple(timedelta(seconds=seconds) for seconds in (60, 300, 1800, 7200, 21600, 43200, 86400))
"""Pauses of an event that the broker gave up; afterwards it waits for a person."""


def pause(tries: int, key: str, schedule: Sequence[timedelta] = DELIVERY_SCHEDULE) -> timedelta | None:
    """
    The pause after ``tries`` calls, at least 1, spread by ±20 %; None when the schedule is used up.

    Whole milliseconds, as every time that is stored. The spread is derived from ``key``, so that many that
    failed together do not come back together, and the same one always waits equally long.

    >>> pause(1, "a") == pause(1, "a"), pause(13, "a")
    (True, None)
    >>> {pause(tries, "a").microseconds % 1000 for tries in range(1, 13)}
    {0}
    """
    if tries > len(schedule):
        return None
    spread = 0.8 + 0.4 * (crc32(f"{key}/{tries}".encode()) / 0xFFFFFFFF)
    return timedelta(milliseconds=round(schedule[tries - 1] / timedelta(milliseconds=1) * spread))
