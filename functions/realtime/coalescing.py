"""Work that is done for the newest value of each key only, and at most so often."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from shared.domain.errors import Unavailable
from shared.observability.log import log

K = TypeVar("K")
V = TypeVar("V")
_AT_ONCE = 8
_AGAIN = 1.0
"""Seconds after which what could not be done is tried again."""


async def each(items: list[K], do: Callable[[K], Awaitable[None]]) -> None:
    """``do`` for all of them, a few at a time."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    if len(items) == 1:
        await do(items[0])
    else:
        await asyncio.gather(*(work() for _ in range(min(_AT_ONCE, len(items)))))


class Coalescing(Generic[K, V]):
    """
    The first value after a pause is handled at once, those of the next ``every`` seconds together.

    ``newer`` says which of two values for a key stays. What a handler could not do now is done next time, a second
    later at the earliest.
    """

    def __init__(
        self,
        handle: Callable[[K, V], Awaitable[None]],
        *,
        every: float,
        newer: Callable[[V, V], V] = lambda _, new: new,
    ) -> None:
        self._handle, self._every, self._newer = handle, every, newer
        self._waiting: dict[K, V] = {}
        self._filled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def put(self, key: K, value: V) -> None:
        old = self._waiting.get(key)
        self._waiting[key] = value if old is None else self._newer(old, value)
        self._filled.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="coalescing")

    async def stop(self) -> None:
        """What waits is still done, once."""
        self._stopping.set()
        self._filled.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            await self._filled.wait()
            put_off = await self._flush()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(self._every, _AGAIN) if put_off else self._every):
                    await self._stopping.wait()
        await self._flush()

    async def _flush(self) -> int:
        """How many could not be done."""
        taken, self._waiting = self._waiting, {}
        self._filled.clear()
        put_off: list[str] = []

        async def one(item: tuple[K, V]) -> None:
            await self._one(*item, put_off)

        if taken:
            await each(list(taken.items()), one)
        if put_off:
            log.warning("put off", function="realtime", count=len(put_off), why=put_off[0])
        return len(put_off)

    async def _one(self, key: K, value: V, put_off: list[str]) -> None:
        try:
            await self._handle(key, value)
        except Unavailable as error:
            put_off.append(error.detail)
            meanwhile = self._waiting.get(key)
            self._waiting[key] = value if meanwhile is None else self._newer(value, meanwhile)
            self._filled.set()
        except Exception as error:  # noqa: BLE001  what waits behind it is done all the same
            log.error("given up", function="realtime", exc_info=error)
