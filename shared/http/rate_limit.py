"""
Rate limits (E11): requests per tenant, client address and class of route, counted in the cache.

    default          everything under /v1 that has no class of its own
    messages         what grows with the traffic of messages: they themselves, history, receipts, files, presence,
                     providers' webhooks
    token            POST /auth/token, per address: a secret is not guessed by trying
    unauthenticated  requests that prove nobody, per address

An answer says the policy and where its caller stands (draft-ietf-httpapi-ratelimit-headers-10). A tenant's own limits
go before the installation's and hold within ``HEARD_WITHIN`` everywhere, as the end of a client's tokens does.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import ceil
from typing import Any, NamedTuple

from shared.domain.errors import Chat4AllError, RateLimited
from shared.domain.rate_limit import Quota, Standing
from shared.observability import metrics
from shared.ports import Cache, Clock, Ports
from shared.repositories.identity_schema import PLATFORM
from shared.repositories.tenants import Tenants

DEFAULT, MESSAGES, TOKEN, UNAUTHENTICATED = "default", "messages", "token", "unauthenticated"
HEARD_WITHIN = timedelta(seconds=5)
REMEMBERED = 20_000

Network = IPv4Network | IPv6Network
Headers = list[tuple[bytes, bytes]]

_MESSAGES = ("/v1/messages", "/v1/files", "/v1/events", "/v1/presence", "/v1/inbound/", "/v1/stream", "/v1/ws/")
_OF_A_CONVERSATION = ("/messages", "/read", "/typing")


@dataclass(frozen=True, slots=True)
class Limits:
    """The installation's own, a minute; 0: none. ``trusted_proxies``: whose X-Forwarded-For is believed."""

    requests_per_minute: int = 0
    messages_per_minute: int = 0
    trusted_proxies: tuple[Network, ...] = ()

    @classmethod
    def of(cls, *, requests_per_minute: int, messages_per_minute: int, trusted_proxies: str) -> "Limits":
        """``trusted_proxies``: addresses or networks, comma-separated, as the setting has them."""
        named = filter(None, map(str.strip, trusted_proxies.split(",")))
        return cls(requests_per_minute, messages_per_minute, tuple(map(ip_network, named)))


class Judged(NamedTuple):
    """``headers`` go on every answer to the request; ``refused`` is what it is answered with, if it is."""

    headers: Headers
    refused: RateLimited | None = None


class _Own(NamedTuple):
    requests: int | None
    messages: int | None
    known: bool
    good_until: datetime


def route_class(path: str) -> str | None:
    """
    The class of a path; None: not limited.

    >>> route_class("/v1/conversations/c1/messages"), route_class("/v1/conversations"), route_class("/health/live")
    ('messages', 'default', None)
    """
    if not path.startswith("/v1/"):
        return TOKEN if path == "/auth/token" else None
    if path.startswith(_MESSAGES) or (path.startswith("/v1/conversations/") and path.endswith(_OF_A_CONVERSATION)):
        return MESSAGES
    return DEFAULT


class RateLimiter:
    """One per process; it remembers the own limits of at most ``REMEMBERED`` tenants."""

    def __init__(self, *, cache: Cache, tenants: Tenants, clock: Clock, limits: Limits) -> None:
        self._cache, self._tenants, self._clock = cache, tenants, clock
        self.limits = limits
        self._own: OrderedDict[str, _Own] = OrderedDict()

    @classmethod
    def of(cls, ports: Ports, limits: Limits) -> "RateLimiter":
        return cls(cache=ports.cache, tenants=Tenants(ports.tables, ports.clock), clock=ports.clock, limits=limits)

    async def judge(self, tenant: str, policy: str, scope: Any) -> Judged:
        """Count one request of the tenant by this policy, from the address that the ASGI scope tells of."""
        own = await self._own_of(tenant)
        if policy == MESSAGES:
            requests = self.limits.messages_per_minute if own.messages is None else own.messages
        else:
            requests = self.limits.requests_per_minute if own.requests is None else own.requests
        if not requests:
            return Judged([])
        quota = _quota(requests)
        standing = await self._cache.admit(f"{tenant}/rate/{policy}/{self.address(scope)}", quota)
        headers = _headers(policy, quota, standing)
        if standing.admitted:
            return Judged(headers)
        # Tenants that nobody made have no row and get no label: whoever calls could name any number of them.
        metrics.requests_limited.labels(tenant if own.known else PLATFORM, policy).inc()
        return Judged(headers, _refusal(policy, quota, standing))

    async def knows(self, tenant: str) -> bool:
        """Whether somebody made this tenant."""
        return (await self._own_of(tenant)).known

    async def turn_away(self, error: Chat4AllError, scope: Any) -> tuple[Chat4AllError, Headers]:
        """What somebody who proved to be nobody is answered with: ``error``, or that they tried too often."""
        judged = await self.judge(PLATFORM, UNAUTHENTICATED, scope)
        return judged.refused or error, judged.headers

    def address(self, scope: Any) -> str:
        """
        The client's: the peer's, or what trusted proxies say of it. Of IPv6 the /64, which is one client's.

        Read from the right: each trusted proxy vouches for the hop before it, and nobody for more.
        """
        client = scope.get("client")
        address: str = client[0] if client else "local"
        if self.limits.trusted_proxies and _within(address, self.limits.trusted_proxies):
            for hop in reversed(_forwarded(scope["headers"])):
                named = _bare(hop)
                if named is None:
                    break
                address = named
                if not _within(address, self.limits.trusted_proxies):
                    break
        return _one_client(address) if ":" in address else address

    async def _own_of(self, tenant: str) -> _Own:
        own = self._own.get(tenant)
        return await self._ask(tenant) if own is None or own.good_until <= self._clock.now() else own

    async def _ask(self, tenant: str) -> _Own:
        found = None if tenant == PLATFORM else await self._tenants.get(tenant)
        requests, messages = (found.requests_per_minute, found.messages_per_minute) if found else (None, None)
        own = self._own[tenant] = _Own(requests, messages, found is not None, self._clock.now() + HEARD_WITHIN)
        self._own.move_to_end(tenant)
        if len(self._own) > REMEMBERED:
            self._own.popitem(last=False)
        return own


@lru_cache(maxsize=1024)
def _quota(requests: int) -> Quota:
    return Quota(requests)


def _headers(policy: str, quota: Quota, standing: Standing) -> Headers:
    where = f'"{policy}";r={standing.remaining};t={ceil(standing.reset)}'
    return [(b"ratelimit-policy", _policy_field(policy, quota)), (b"ratelimit", where.encode("ascii"))]


@lru_cache(maxsize=1024)
def _policy_field(policy: str, quota: Quota) -> bytes:
    return f'"{policy}";q={quota.requests};w={quota.window}'.encode("ascii")


def _refusal(policy: str, quota: Quota, standing: Standing) -> RateLimited:
    return RateLimited(
        f"{quota.requests:,} requests in {quota.window} s are allowed by the policy {policy!r}; "
        f"come back in {ceil(standing.wait)} s",
        retry_after=timedelta(seconds=standing.wait),
        violated=(policy,),
    )


def _forwarded(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    hops = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    return hops.decode("latin-1").split(",") if hops else []


@lru_cache(maxsize=10_000)
def _bare(hop: str) -> str | None:
    """
    The address of one hop, without a port; None: that is none.

    >>> _bare(" 203.0.113.7:4711"), _bare("[2001:db8::1]:80"), _bare("unknown")
    ('203.0.113.7', '2001:db8::1', None)
    """
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None


@lru_cache(maxsize=10_000)
def _within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


@lru_cache(maxsize=10_000)
def _one_client(address: str) -> str:
    """
    >>> _one_client("2001:db8:1:2:3:4:5:6"), _one_client("::ffff:203.0.113.7")
    ('2001:db8:1:2::/64', '203.0.113.7')
    """
    parsed = IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else str(ip_network((int(parsed) >> 64 << 64, 64)))
