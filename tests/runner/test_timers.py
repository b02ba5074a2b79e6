"""Timers tick by the manifests, and a tick is the same event whoever emits it (design.md 12, A11)."""

import asyncio
from datetime import UTC, datetime, timedelta

from events import Event
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.domain.errors import Unavailable
from shared.runtime.timers import Timers
from shared.runtime.wiring import Timer

NOON = datetime(2026, 11, 21, 12, 0, 2, tzinfo=UTC)


class LoopClock:
    """The loop's time, from NOON on."""

    def now(self) -> datetime:
        return NOON + timedelta(seconds=asyncio.get_running_loop().time())


async def test_a_timer_ticks_at_once_and_then_at_multiples_of_its_interval(log: MemoryRecordLog) -> None:
    timers = Timers([Timer("redrive", 5), Timer("sweep", 30)], log, LoopClock())
    timers.start()
    await asyncio.sleep(29)
    await timers.stop()
    ticks = [(record.event.attributes["timer"], record.event.attributes["time"][11:19]) for record in log.records]
    assert [at for name, at in ticks if name == "redrive"] == [
        f"12:00:{second:02d}" for second in (0, 5, 10, 15, 20, 25, 30)
    ]
    assert [at for name, at in ticks if name == "sweep"] == ["12:00:00", "12:00:30"]
    assert {record.event.attributes["tenant"] for record in log.records} == {"-"}


async def test_the_same_tick_has_the_same_id_after_a_restart(log: MemoryRecordLog) -> None:
    for _ in range(2):
        timers = Timers([Timer("redrive", 3600)], log, LoopClock())
        timers.start()
        await asyncio.sleep(1)
        await timers.stop()
    assert len(log.records) == 2
    assert len({record.event.attributes["id"] for record in log.records}) == 1


async def test_a_tick_that_could_not_be_emitted_does_not_stop_the_timer() -> None:
    class Down(MemoryRecordLog):
        failures = 2

        async def emit(self, *events: Event) -> None:  # type: ignore[type-arg]
            if self.failures:
                self.failures -= 1
                raise Unavailable
            await super().emit(*events)

    down = Down()
    timers = Timers([Timer("redrive", 5)], down, LoopClock())
    timers.start()
    await asyncio.sleep(12)
    await timers.stop()
    assert len(down.records) == 1
