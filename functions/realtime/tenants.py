"""The tenants whose sockets this gateway holds, as those know them who would wake somebody to push (ADR 42)."""

import asyncio
from collections import Counter
from contextlib import suppress

from functions.realtime.coalescing import each
from shared.domain.errors import Unavailable
from shared.keyed_locks import KeyedLocks
from shared.repositories.listeners import Listeners
from shared.repositories.presence import Presence

_STOP = 5.0
"""Seconds that the end may take, of the 25 that a process has for it."""


class Tenants:
    """
    One of each gateway, which says by ``came`` and ``went`` whose people it has.

    What waits raises Unavailable when it is not kept; then it is to be called again.
    """

    def __init__(self, listeners: Listeners, presence: Presence, gateway: str) -> None:
        self._listeners, self._presence, self._gateway = listeners, presence, gateway
        self._people: Counter[str] = Counter()
        self._heard: set[str] = set()
        self._written: set[str] = set()
        """Whose row may be there: all that are heard, and what could not be taken away."""
        self._lives = False
        self._lanes: KeyedLocks[str] = KeyedLocks()

    def came(self, tenant: str) -> None:
        self._people[tenant] += 1

    def went(self, tenant: str) -> None:
        self._people[tenant] -= 1
        if self._people[tenant] <= 0:
            del self._people[tenant]

    @property
    def heard(self) -> list[str]:
        return list(self._heard)

    async def hear(self, tenant: str) -> bool:
        """Once it returns, what happens to the tenant is pushed. True: of what came before, not all may have been."""
        if tenant in self._heard:
            return False
        async with self._lanes.of(tenant):
            if tenant in self._heard:
                return False
            if not self._lives:
                await self._presence.beat(self._gateway)  # whoever does not live is not counted
                self._lives = True
            self._written.add(tenant)
            await self._listeners.opened(tenant, self._gateway)
            self._heard.add(tenant)
            return True

    async def holds(self, tenant: str) -> bool:
        """False: somebody has forgotten that the tenant is heard here; it is to be heard anew."""
        async with self._lanes.of(tenant):
            if tenant in self._heard and not await self._listeners.holds(tenant, self._gateway):
                self._heard.discard(tenant)
            return tenant in self._heard

    async def let_go(self) -> None:
        """Of those who have nobody here any more."""
        await each([tenant for tenant in self._written if tenant not in self._people], self._leave)

    async def stop(self) -> None:
        """Of all, as far as that can be kept now; who is left counts until this gateway is forgotten."""
        self._people.clear()

        async def leave(tenant: str) -> None:
            with suppress(Unavailable):
                await self._leave(tenant)

        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP):
                await each(list(self._written), leave)

    async def _leave(self, tenant: str) -> None:
        async with self._lanes.of(tenant):
            if tenant not in self._people:
                self._heard.discard(tenant)  # first: after a deletion without an answer nobody knows
                await self._listeners.closed(tenant, self._gateway)
                self._written.discard(tenant)
