"""
What all work of timers has in common: one tick at a time, of which none takes longer than its Trigger waits (design.md
12). How much a tick does is what the machine can do in that time. And marks that say how far it came are distrusted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from typing import TypeVar

from shared.domain.errors import Unavailable
from shared.ports import Clock

T = TypeVar("T")
R = TypeVar("R")

BUDGET = timedelta(seconds=12)
"""After it a tick begins nothing more, and the next goes on: Triggers of timers wait for 30 s."""
UNDER_WAY = timedelta(seconds=15)
"""
What was begun last may take as much more: the longest until a store or the broker is given up. What makes several
calls one after another is cut off then, and so is a walk with what it reads before and marks after.
"""
LONG = timedelta(hours=1)
"""What fails in every tick for so long would hold up the walk: it is put off by as much."""
HOUR, DAY = 60, 24 * 60
"""Minutes."""
AT_ONCE = 50
"""Things done at the same time: the broker takes a hundred calls of a pod, Cassandra 256."""


class OneAtATime:
    """Ticks that pile up would each do the same: those that come while one works do nothing."""

    def __init__(self) -> None:
        self._working = asyncio.Lock()

    async def __call__(self, work: Callable[[], Awaitable[object]]) -> None:
        if not self._working.locked():
            async with self._working:
                await work()


class LookBack:
    """
    Where a walk over minutes begins, which usually goes on from a mark. A clock that was ahead has set the mark beyond
    what others left since, so a walk begins now and then as ``far`` before it: in the first minute of each ``every``,
    and in a process that has missed that one, in the next. One that was just started has missed none: where functions
    sleep it is started every minute.
    """

    def __init__(self, far: int, every: int) -> None:
        """Both in minutes."""
        self._far = far
        self._every = every
        self._turn: int | None = None
        self._latest = self._reached = self._until = 0

    def first(self, usual: int, now: int) -> int:
        """Where to begin this time; ``usual`` if it need not look back."""
        turn, minute_of_it = divmod(now, self._every)
        missed = minute_of_it == 0 if self._turn is None else turn > self._turn
        through, set_back = self._reached >= self._until, now < self._latest  # set back: it was the one ahead
        if set_back or (through and missed):
            self._reached, self._until = usual - self._far, usual
        if set_back or through:
            self._turn = turn
        self._latest = now
        return min(self._reached, usual) if self._reached < self._until else usual

    def reached(self, minute: int) -> None:
        """All before ``minute`` is done: a walk that is cut off goes on there."""
        self._reached = max(self._reached, minute)


class Tick:
    """
    The work of one tick: many things, some at once, as long as there is time. One that fails stops no other, and stays
    for the next tick; but when they fail one and all, it is not they that are broken, and the tick ends.
    """

    def __init__(self, clock: Clock, *, budget: timedelta | None = None, under_way: timedelta | None = None) -> None:
        """``budget``, ``under_way``: where a Trigger waits for longer than those of BUDGET and UNDER_WAY."""
        begins_until, ends_until = budget or BUDGET, under_way or UNDER_WAY
        self._clock = clock
        self._until = clock.now() + begins_until
        self._cut_off = asyncio.get_running_loop().time() + (begins_until + ends_until).total_seconds()
        self._done = 0
        self._broker_takes = False
        self._failures: list[Exception] = []

    @property
    def goes_on(self) -> bool:
        return self._clock.now() < self._until and len(self._failures) < self._done + AT_ONCE

    def again_at(self, now: datetime) -> datetime:
        """
        When to try again what has failed for ``LONG``. If something else was handed over, it is itself what is broken.
        When the broker takes nothing it is not: the first tick that can shall do it.
        """
        return now + LONG if self._broker_takes else now

    def handed_over(self) -> None:
        """The broker took something. That something has merely ended says nothing of it: it may not have been asked."""
        self._broker_takes = True

    async def in_time(self, work: Awaitable[R]) -> R:
        """
        Raises:
            Unavailable: it took so long that the Trigger would soon wait no more.
        """
        try:
            async with asyncio.timeout_at(self._cut_off) as limit:
                return await work
        except TimeoutError as slow:
            if limit.expired():
                raise Unavailable("what a tick had begun took too long") from slow
            raise

    async def each(self, items: Collection[T], do: Callable[[T], Awaitable[R]], at_once: int = AT_ONCE) -> list[R]:
        """What ``do`` gave, for as many as were done; they are begun in their order."""
        waiting = iter(items)
        given: list[R] = []

        async def work() -> None:
            for item in waiting:
                if not self.goes_on:
                    break
                try:
                    given.append(await self.in_time(do(item)))
                    self._done += 1
                except Exception as error:  # noqa: BLE001  raised at the end
                    self._failures.append(error)

        await asyncio.gather(*(work() for _ in range(min(at_once, len(items)))))
        return given

    def end(self) -> None:
        """
        Raises:
            Exception: the first that something failed with.
        """
        if self._failures:
            raise self._failures[0]
