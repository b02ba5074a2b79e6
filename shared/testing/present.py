"""The people at the providers, and who looks after what is parked: nothing rests until it is back."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from shared.testing.campaign import Campaign
from shared.testing.providers import Providers
from shared.testing.tenant import PAGE, Tenant


@dataclass(slots=True)
class Present:
    """``stays``: whether what is parked (an item of GET /v1/parked) is not waited for."""

    providers: Providers
    tenants: Sequence[Tenant]
    stays: Callable[[Mapping[str, Any]], bool]

    async def write(self, campaign: Campaign) -> None:
        await self.providers.write(campaign)

    async def pending(self) -> list[str]:
        parked = [f"parked {event_id}" for tenant in self.tenants async for event_id in self._parked(tenant)]
        return parked + await self.providers.pending()

    async def collect(self, campaign: Campaign) -> None:
        await self.providers.collect(campaign)

    async def _parked(self, tenant: Tenant) -> AsyncIterator[str]:
        """The ids of the tenant's events that are waited for."""
        path, more = f"/v1/parked?limit={PAGE}", ""
        while True:
            answer = await tenant.call("GET", path + more)
            if answer.status != 200:
                yield f"by {tenant.name}: status {answer.status}"
                return
            page = answer.json()
            for one in page["items"]:
                if not self.stays(one):
                    yield one["event"]["id"]
            if not page["next_cursor"]:
                return
            more = f"&cursor={quote(page['next_cursor'], safe='')}"
