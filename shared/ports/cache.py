"""
Hints, limits, breakers: things that may be lost at any moment without changing a result (design.md 4).

Values are small bytes. Every key starts with the tenant. A cache that is down answers as if it were empty.
"""

from typing import Protocol

from shared.domain.rate_limit import Quota, Standing


class Cache(Protocol):
    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes, *, ttl: float) -> None:
        """Keep the value for at most ``ttl`` seconds."""
        ...

    async def replace(self, key: str, expected: bytes | None, value: bytes, *, ttl: float) -> bool:
        """Set the value if the current one equals ``expected`` (None: absent), atomically; whether it was so."""
        ...

    async def delete(self, key: str) -> None: ...

    async def admit(self, key: str, quota: Quota) -> Standing:
        """
        One request of whoever ``key`` names, counted and judged atomically (``shared.domain.rate_limit``), by one
        clock for all processes. A cache that is down judges by what this process alone has seen.
        """
        ...
