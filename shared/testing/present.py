"""The people at the providers, and who looks after what is parked: nothing rests until it is back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.testing.campaign import Campaign
from shared.testing.providers import Providers
from shared.testing.tenant import Tenant


@dataclass(slots=True)
class Present:
    """``stays``: whether what is parked (an item of GET /v1/parked) is not waited for."""

    providers: Providers
    tenants: Sequence[Tenant]
    stays: Callable[[Mapping[str, Any]], bool]

    async def write(self, campaign: Campaign) -> None:
        await self.providers.write(campaign)

    async def pending(self) -> int:
        return await self.providers.pending() + len(await self.parked())

    async def collect(self, campaign: Campaign) -> None:
        await self.providers.collect(campaign)

    async def parked(self) -> list[str]:
        """The ids of events."""
        ids = []
        for tenant in self.tenants:
            answer = await tenant.call("GET", "/v1/parked?limit=200")
            if answer.status != 200:
                return [f"status {answer.status}"]
            ids += [one["event"]["id"] for one in answer.json()["items"] if not self.stays(one)]
        return ids
