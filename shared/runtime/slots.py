"""
How many calls a Trigger makes at once: as many as are answered in time (ADR 46).

AIMD, as of TCP's congestion avoidance (RFC 5681, 3.1): a call whose time is over halves the limit, once for all that
were under way together; each answer raises it, by one for a limit's worth of them.
"""

import asyncio
from collections import deque

_LEAST = 20
"""The limit never falls below this part of the most, nor to one: a call without an answer must not hold up all."""


class Slots:
    """Whoever waited longest gets the next one. ``most``: the limit at the beginning, and never more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = min(max(most // _LEAST, 2), most)
        self._limit = float(most)
        self._under_way = 0
        self._round = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        return int(self._limit)

    @property
    def round(self) -> int:
        """Kept by who begins a call, and told to ``late``."""
        return self._round

    def try_take(self) -> bool:
        if self._under_way >= self.limit:
            return False
        self._under_way += 1
        return True

    async def take(self) -> None:
        if self.try_take():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        self._under_way -= 1
        self._hand_out()

    def answered(self) -> None:
        """A call came to its end in time."""
        if self._limit < self._most:
            self._limit = min(self._limit + 1 / self._limit, self._most)
            self._hand_out()

    def late(self, begun: int) -> bool:
        """The time of a call that began in the round ``begun`` is over; whether the limit falls for that."""
        if begun != self._round or self.limit == self._least:
            return False
        self._round += 1
        self._limit = max(self._limit / 2, float(self._least))
        return True

    def _hand_out(self) -> None:
        while self._waiting and self._under_way < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._under_way += 1
                turn.set_result(None)
