"""The tenants whose sockets this gateway holds, as those know them who would wake somebody to push (ADR 0042)."""

import asyncio
from collections import Counter
from weakref import WeakValueDictionary

from functions.realtime.coalescing import each
from shared.repositories.listeners import Listeners
from shared.repositories.presence import Presence


class Tenants:
    """
    One of each gateway, which says by ``came`` and ``went`` whose people it has.

    What waits raises Unavailable when it is not kept; then it is to be called again.
    """

    def __init__(self, listeners: Listeners, presence: Presence, gateway: str) -> None:
        self._listeners, self._presence, self._gateway = listeners, presence, gateway
        self._people: Counter[str] = Counter()
        self._heard: set[str] = set()
        self._lanes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def came(self, tenant: str) -> None:
        self._people[tenant] += 1

    def went(self, tenant: str) -> None:
        self._people[tenant] -= 1
        if not self._people[tenant]:
            del self._people[tenant]

    async def hear(self, tenant: str) -> bool:
        """Once it returns, what happens to the tenant is pushed. True: of what came before, not all may have been."""
        async with self._lane(tenant):
            if tenant in self._heard:
                return False
            await self._presence.beat(self._gateway)  # whoever does not live is not counted
            await self._listeners.opened(tenant, self._gateway)
            self._heard.add(tenant)
            return True

    async def let_go(self) -> None:
        """Of those who have nobody here any more."""

        async def leave(tenant: str) -> None:
            async with self._lane(tenant):
                if tenant not in self._people:
                    self._heard.discard(tenant)  # first: who comes after a write that failed is written again
                    await self._listeners.closed(tenant, self._gateway)

        await each([tenant for tenant in self._heard if tenant not in self._people], leave)

    async def renew(self) -> None:
        """This gateway was thought dead, so that what it holds may have been forgotten."""

        async def again(tenant: str) -> None:
            async with self._lane(tenant):
                if tenant in self._heard:
                    await self._listeners.opened(tenant, self._gateway)

        await each(list(self._heard), again)

    def _lane(self, tenant: str) -> asyncio.Lock:
        lane = self._lanes.get(tenant)
        if lane is None:
            self._lanes[tenant] = lane = asyncio.Lock()
        return lane
