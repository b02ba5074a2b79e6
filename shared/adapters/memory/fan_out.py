"""Fan-out inside one process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _Queue:
    """Frames for one subscriber; a full one drops its oldest."""

    def __init__(self, capacity: int) -> None:
        self._frames: deque[tuple[str, bytes]] = deque(maxlen=capacity)
        self._filled = asyncio.Event()

    def add(self, subject: str, frame: bytes) -> None:
        self._frames.append((subject, frame))
        self._filled.set()

    def __aiter__(self) -> AsyncIterator[tuple[str, bytes]]:
        return self

    async def __anext__(self) -> tuple[str, bytes]:
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        return self._frames.popleft()


class MemoryFanOut:
    """``capacity`` is how many frames a subscriber may be behind."""

    def __init__(self, *, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._subscribers: dict[str, set[_Queue]] = {}

    async def publish(self, subject: str, frame: bytes) -> None:
        for queue in self._subscribers.get(subject, ()):
            queue.add(subject, frame)

    @asynccontextmanager
    async def subscribe(self, *subjects: str) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        queue = _Queue(self._capacity)
        wanted = set(subjects)
        for subject in wanted:
            self._subscribers.setdefault(subject, set()).add(queue)
        try:
            yield queue
        finally:
            for subject in wanted:
                others = self._subscribers[subject]
                others.discard(queue)
                if not others:
                    del self._subscribers[subject]
