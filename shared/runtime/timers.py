"""
The clock as a source of events, where there is no Knative: reads the same PingSource manifests (design.md 12).

A tick's id is computed from the timer's name and the tick's instant, so two processes, or one that was
restarted, tick the same event. Ticks belong to no tenant.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from math import floor

from events import Event, TimerTicked, derived_id
from events.vocabulary import rfc3339
from shared.domain.errors import Unavailable
from shared.observability.log import log
from shared.ports import Clock, EventSink
from shared.repositories.identity_schema import PLATFORM
from shared.runtime.wiring import Timer


class Timers:
    def __init__(self, timers: Iterable[Timer], sink: EventSink, clock: Clock) -> None:
        self._timers = tuple(timers)
        self._sink = sink
        self._clock = clock
        self._ticking: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Tick once now, then at every multiple of each timer's interval."""
        self._ticking = [asyncio.create_task(self._tick(timer), name=f"timer {timer.name}") for timer in self._timers]

    async def stop(self) -> None:
        for task in self._ticking:
            task.cancel()
        await asyncio.gather(*self._ticking, return_exceptions=True)

    async def _tick(self, timer: Timer) -> None:
        before: int | None = None
        while True:
            count = floor(self._clock.now().timestamp() / timer.every)
            if count != before:
                before = count
                try:
                    await self._sink.emit(ticked(timer, count))
                except Unavailable as error:
                    log.warning("a tick was not emitted; the next will be", timer=timer.name, why=error.detail)
            await asyncio.sleep((count + 1) * timer.every - self._clock.now().timestamp())


def ticked(timer: Timer, count: int) -> Event[TimerTicked]:
    """The event of the tick number ``count`` since 1970."""
    at = datetime.fromtimestamp(count * timer.every, UTC)
    return Event(
        id=derived_id("timer", timer.name, rfc3339(at)),
        source=f"/timers/{timer.name}",
        tenant=PLATFORM,
        time=at,
        data=TimerTicked(name=timer.name),
    )
