"""
Which tenants have open sockets: where none is, nobody is woken to push (docs/adr/0042).

A gateway writes that it holds one before it reads what that one lacks, and "nobody" is never remembered. So of a
status, which is kept before anybody looks here, either the news is pushed or whoever asks for it after ``ready`` finds
it. A message is judged before it is kept: a gateway looks once more a moment after it came.
"""

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from shared.domain.errors import Unavailable
from shared.ports.tables import Put, Row, Table, Tables
from shared.repositories.identity_schema import PLATFORM
from shared.repositories.schema import GATEWAYS, LISTENERS

REMEMBERED = 5.0
"""Seconds that somebody is believed to listen, or to live: whoever is woken for nothing finds nobody."""
_GATEWAYS = 1000
_TENANTS = 10_000


class Listeners:
    """One for each function that asks. ``monotonic`` gives seconds that never go back."""

    def __init__(self, tables: Tables, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._tables = tables
        self._monotonic = monotonic
        self._heard: OrderedDict[str, float] = OrderedDict()
        """Tenants, and until when they are believed to be heard."""
        self._living: set[str] = set()
        self._living_until = 0.0

    async def any_of(self, tenant: str) -> bool:
        """Whether a gateway that lives may hold a socket of the tenant; true where that cannot be known now."""
        now = self._monotonic()
        if self._heard.get(tenant, 0.0) > now:
            return True
        try:
            heard = await self._lives(await self._gateways(LISTENERS, tenant), now)
        except Unavailable:
            return True
        if not heard:
            self._heard.pop(tenant, None)
            return False
        self._heard[tenant] = now + REMEMBERED
        self._heard.move_to_end(tenant)
        if len(self._heard) > _TENANTS:
            self._heard.popitem(last=False)
        return True

    async def opened(self, tenant: str, gateway: str) -> None:
        """
        ``gateway``, which says that it lives (``Presence.beat``), holds a socket of the tenant.

        Raises:
            Unavailable: it is not known whether this is kept.
        """
        row: Row = {"tenant": tenant, "gateway": gateway}
        await self._tables.put(Put(LISTENERS, row))

    async def closed(self, tenant: str, gateway: str) -> None:
        """
        It holds none any more.

        Raises:
            Unavailable: it is not known whether this is kept.
        """
        await self._tables.delete(LISTENERS, (tenant, gateway))

    async def holds(self, tenant: str, gateway: str) -> bool:
        """
        Whether ``opened`` is still known.

        Raises:
            Unavailable: nobody knows.
        """
        return await self._tables.get(LISTENERS, (tenant, gateway)) is not None

    async def forget_dead(self, tenant: str) -> None:
        """
        The rows of gateways that ended without a word.

        Raises:
            Unavailable: some may still be there.
        """
        dead = await self._gateways(LISTENERS, tenant) - await self._gateways(GATEWAYS, PLATFORM)
        if dead:
            await self._tables.delete(LISTENERS, *((tenant, gateway) for gateway in sorted(dead)))

    async def _lives(self, gateways: set[str], now: float) -> bool:
        """Whether one of them does. Each tenant asks for the same ones, so they are read once for all."""
        if gateways and (self._living_until <= now or gateways.isdisjoint(self._living)):
            self._living, self._living_until = await self._gateways(GATEWAYS, PLATFORM), now + REMEMBERED
        return not gateways.isdisjoint(self._living)

    async def _gateways(self, table: Table, tenant: str) -> set[str]:
        return {str(row["gateway"]) for row in await self._tables.slice(table, (tenant,), limit=_GATEWAYS)}
