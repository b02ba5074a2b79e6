"""
Tickets: how a browser opens a socket without a token in a URL (ASVS 14.2.1; reliability.md 5.5).

A ticket is good once, for 30 s, for the user and the origin that it was asked for. It is kept in the cache: one
that is lost with it is asked for again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from shared.domain.errors import Unauthenticated
from shared.http.caller import Caller
from shared.ports import Cache, Clock, Ids

LIFETIME = timedelta(seconds=30)
_USED = b"used"


@dataclass(frozen=True, slots=True)
class Admission:
    """Whom a socket belongs to, and who says so."""

    caller: Caller
    user_id: str

    @property
    def tenant(self) -> str:
        return self.caller.tenant


class _Kept(msgspec.Struct):
    client_id: str
    token_user: str | None
    user_id: str
    scopes: list[str]
    epoch: int
    expires_at: datetime
    issued_at: datetime
    origin: str | None


@dataclass(frozen=True, slots=True)
class Tickets:
    cache: Cache
    ids: Ids
    clock: Clock

    async def issue(self, admission: Admission, origin: str | None) -> str:
        """``origin``: that of the page that asks; None when no browser does."""
        caller = admission.caller
        ticket = f"{caller.tenant}.{self.ids.uuid()}"
        kept = _Kept(
            client_id=caller.client_id,
            token_user=caller.user_id,
            user_id=admission.user_id,
            scopes=sorted(caller.scopes),
            epoch=caller.epoch,
            expires_at=caller.expires_at,
            issued_at=self.clock.now(),
            origin=origin,
        )
        await self.cache.put(_key(ticket), msgspec.json.encode(kept), ttl=LIFETIME.total_seconds())
        return ticket

    async def redeem(self, ticket: str, origin: str | None, *, by_get: bool = False) -> Admission:
        """
        Whom the ticket admits; it admits nobody again.

        Args:
            by_get: it came with a GET, for which a page tells its own host no Origin (Fetch 3.2); a foreign one
                is always told.

        Raises:
            Unauthenticated: it was never given, has been used, is too old, or is for another origin.
        """
        key = _key(ticket)
        found = await self.cache.get(key)
        if found is None or found == _USED:
            raise _bad_ticket()
        # Whoever replaces it is the one who has it.
        if not await self.cache.replace(key, found, _USED, ttl=LIFETIME.total_seconds()):
            raise _bad_ticket()
        kept = msgspec.json.decode(found, type=_Kept)
        same = kept.origin == origin or (by_get and origin is None)
        if not same or self.clock.now() >= kept.issued_at + LIFETIME:
            raise _bad_ticket()
        tenant, _, _ = ticket.partition(".")
        caller = Caller(
            tenant=tenant,
            client_id=kept.client_id,
            user_id=kept.token_user,
            scopes=frozenset(kept.scopes),
            epoch=kept.epoch,
            expires_at=kept.expires_at,
        )
        return Admission(caller, kept.user_id)


def _key(ticket: str) -> str:
    """The cache is not told tickets that it could give away."""
    tenant, _, _ = ticket.partition(".")
    return f"{tenant}/ticket/{sha256(ticket.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _bad_ticket() -> Unauthenticated:
    return Unauthenticated("the ticket is not valid any more; get a fresh one at POST /v1/ws/ticket")
