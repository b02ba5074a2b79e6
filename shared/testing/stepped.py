"""Ports in memory that stop before and after every step, so that a Schedule can put others in between."""

from typing import Any

from events import CloudEvent, Event
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Checkpoint
from shared.domain.errors import Unavailable


class SteppedCache:
    """The Cache port over ``kept``, which a test may change as it likes."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.kept = MemoryCache(monotonic=lambda: 0.0)

    async def get(self, key: str) -> bytes | None:
        await self.checkpoint()
        value = await self.kept.get(key)
        await self.checkpoint()
        return value

    async def put(self, key: str, value: bytes, *, ttl: float) -> None:
        await self.checkpoint()
        await self.kept.put(key, value, ttl=ttl)

    async def replace(self, key: str, expected: bytes | None, value: bytes, *, ttl: float) -> bool:
        await self.checkpoint()
        done = await self.kept.replace(key, expected, value, ttl=ttl)
        await self.checkpoint()
        return done

    async def delete(self, key: str) -> None:
        await self.checkpoint()
        await self.kept.delete(key)


class SteppedSink:
    """
    The EventSink port over a log.

    ``failures`` counts the calls that are still to fail: in turn before anything was taken, and after all was.
    """

    def __init__(self, checkpoint: Checkpoint, log: MemoryRecordLog) -> None:
        self.checkpoint = checkpoint
        self._log = log
        self.failures = 0

    async def emit(self, *events: Event[Any]) -> None:
        await self.append(*(event.to_cloudevent() for event in events))

    async def append(self, *events: CloudEvent) -> None:
        await self.checkpoint()
        fails = self.failures > 0
        if fails:
            self.failures -= 1
        if not fails or self.failures % 2:
            await self._log.append(*events)
        await self.checkpoint()
        if fails:
            raise Unavailable("the broker gave no answer")
