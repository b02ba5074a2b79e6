"""
Which events the webhooks of a tenant ask for: what every message asks, so it is remembered for a moment.

Nobody tells the processes of a change. A registration is answered only when all of them must have forgotten what
was before (``REMEMBERED``), so what happens after its answer is told (ADR 0025).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from shared.domain.webhook import wants
from shared.ports.tables import Tables
from shared.repositories.webhook_schema import WEBHOOKS
from shared.repositories.webhooks import MAX_WEBHOOKS, events_of

REMEMBERED = 1.0
"""Seconds."""
_TENANTS = 10_000


@dataclass(frozen=True, slots=True)
class _Asked:
    webhooks: tuple[tuple[str, frozenset[str]], ...]
    until: float


class Interest:
    """One for each function that asks. ``monotonic`` gives seconds that never go back."""

    def __init__(self, tables: Tables, *, monotonic: Callable[[], float] = monotonic) -> None:
        self._tables = tables
        self._monotonic = monotonic
        self._asked: OrderedDict[str, _Asked] = OrderedDict()

    async def wanted(self, tenant: str, event: str) -> bool:
        """
        Whether an enabled webhook asks for the event, by its name for subscribers: ``message.read``.

        Raises:
            Unavailable: nobody knows.
        """
        asked = self._asked.get(tenant)
        if asked is None or asked.until <= self._monotonic():
            asked = await self._look(tenant)
        return bool(asked.webhooks) and any(wants(events, event) for _, events in asked.webhooks)

    async def webhooks(self, tenant: str, event: str) -> list[str]:
        """Ids of the enabled webhooks that ask for the event."""
        if not await self.wanted(tenant, event):
            return []
        return [webhook_id for webhook_id, events in self._asked[tenant].webhooks if wants(events, event)]

    async def _look(self, tenant: str) -> _Asked:
        until = self._monotonic() + REMEMBERED  # from before the look: what it saw is not younger
        rows = await self._tables.slice(WEBHOOKS, (tenant,), limit=MAX_WEBHOOKS)
        asked = _Asked(tuple((str(row["webhook_id"]), events_of(row)) for row in rows if row["enabled"]), until)
        self._asked[tenant] = asked
        self._asked.move_to_end(tenant)
        if len(self._asked) > _TENANTS:
            self._asked.popitem(last=False)
        return asked
