"""The cache of one process: bounded, the least recently used goes first."""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from shared.domain.rate_limit import MICROSECONDS, Quota, Standing, admit


class MemoryCache:
    """``monotonic`` gives seconds that never go back; ``capacity`` counts keys."""

    def __init__(self, *, capacity: int = 100_000, monotonic: Callable[[], float] = monotonic) -> None:
        self._capacity = capacity
        self._monotonic = monotonic
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        return self._get(key)

    async def put(self, key: str, value: bytes, *, ttl: float) -> None:
        self._put(key, value, ttl)

    async def replace(self, key: str, expected: bytes | None, value: bytes, *, ttl: float) -> bool:
        if self._get(key) != expected:
            return False
        self._put(key, value, ttl)
        return True

    async def delete(self, key: str) -> None:
        self._kept.pop(key, None)

    async def admit(self, key: str, quota: Quota) -> Standing:
        kept = self._get(key)
        even, standing = admit(int(kept) if kept else None, int(self._monotonic() * MICROSECONDS), quota)
        self._put(key, b"%d" % even, standing.reset)
        return standing

    def _get(self, key: str) -> bytes | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        value, expires = kept
        if expires <= self._monotonic():
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return value

    def _put(self, key: str, value: bytes, ttl: float) -> None:
        self._kept[key] = value, self._monotonic() + ttl
        self._kept.move_to_end(key)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
