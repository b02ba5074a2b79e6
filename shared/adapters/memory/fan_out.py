"""Fan-out inside one process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class MemoryListening:
    """Frames for one subscriber; a full queue drops its oldest."""

    def __init__(self, subscribers: "dict[str, set[MemoryListening]]", capacity: int) -> None:
        self._subscribers = subscribers
        self._frames: deque[tuple[str, bytes]] = deque(maxlen=capacity)
        self._filled = asyncio.Event()
        self._subjects: set[str] = set()
        self.losses = 0

    def put(self, subject: str, frame: bytes) -> None:
        if len(self._frames) == self._frames.maxlen:
            self.losses += 1
        self._frames.append((subject, frame))
        self._filled.set()

    def __aiter__(self) -> "MemoryListening":
        return self

    async def __anext__(self) -> tuple[str, bytes]:
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        return self._frames.popleft()

    async def add(self, *subjects: str) -> None:
        for subject in subjects:
            self._subjects.add(subject)
            self._subscribers.setdefault(subject, set()).add(self)

    async def remove(self, *subjects: str) -> None:
        for subject in self._subjects.intersection(subjects):
            others = self._subscribers[subject]
            others.discard(self)
            if not others:
                del self._subscribers[subject]
        self._subjects.difference_update(subjects)

    async def leave(self) -> None:
        await self.remove(*self._subjects)


class MemoryFanOut:
    """``capacity`` is how many frames a subscriber may be behind."""

    def __init__(self, *, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._subscribers: dict[str, set[MemoryListening]] = {}

    async def publish(self, subject: str, frame: bytes) -> None:
        for listening in self._subscribers.get(subject, ()):
            listening.put(subject, frame)

    def heard(self, subject: str) -> bool:
        return subject in self._subscribers

    @asynccontextmanager
    async def subscribe(self, *subjects: str) -> AsyncIterator[MemoryListening]:
        listening = MemoryListening(self._subscribers, self._capacity)
        await listening.add(*subjects)
        try:
            yield listening
        finally:
            await listening.leave()
