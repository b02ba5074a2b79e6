"""
How often a tenant's callers may come: its own limits, never above the installation's (E11, E14).

Takes no event and emits none; its face is HTTP. What is set here is enforced by ``shared.http.rate_limit``.
"""

from dataclasses import dataclass
from typing import ClassVar

from events import EventData
from shared.domain.errors import Forbidden, NotFound
from shared.domain.identity import Tenant
from shared.ports import Ports
from shared.repositories.tenants import Tenants

REQUESTS, MESSAGES = "requests_per_minute", "messages_per_minute"


def decide(name: str, asked: int | None, installation: int) -> int | None:
    """
    What the tenant's own limit becomes.

    Args:
        asked: None for the installation's.
        installation: 0: it has none, so the tenant may set any.

    Raises:
        Forbidden: only whoever runs the installation gives more than it gives everybody.

    >>> decide("requests_per_minute", 50, 100), decide("requests_per_minute", None, 100)
    (50, None)
    """
    if asked is not None and installation and asked > installation:
        raise Forbidden(
            f"{name} may be at most {installation}; more is given on the platform's machine: chat4all tenants limit"
        )
    return asked


@dataclass(frozen=True, slots=True)
class RateLimits:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    tenants: Tenants

    async def get(self, tenant: str) -> Tenant:
        found = await self.tenants.get(tenant)
        if found is None:
            raise NotFound(f"there is no tenant {tenant!r}")
        return found

    async def set(self, tenant: str, *, requests: int | None, messages: int | None) -> Tenant:
        """As ``decide`` allows; it holds everywhere within seconds."""
        return await self.tenants.limit(tenant, requests_per_minute=requests, messages_per_minute=messages)


def new(ports: Ports) -> RateLimits:
    return RateLimits(tenants=Tenants(ports.tables, ports.clock))
