"""
Tokens: a client proves itself by its secret, and asks for tokens of single users (A1).

Takes no event and emits none; its face is HTTP.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from events import EventData
from shared.domain.errors import Forbidden, Invalid, NotFound
from shared.domain.identity import MESSAGES
from shared.http.access_token import LIFETIME, Claims, mint
from shared.http.caller import Caller
from shared.ports import Clock, Ids, Ports
from shared.repositories.clients import Clients
from shared.repositories.signing_keys import SigningKeys
from shared.repositories.users import Users


@dataclass(frozen=True, slots=True)
class Grant:
    """``expires_in`` in seconds."""

    access_token: str
    expires_in: int
    scopes: frozenset[str]


def decide_scopes(allowed: frozenset[str], asked: str | None) -> frozenset[str]:
    """
    All that is allowed, or less if the client asks for less.

    Raises:
        Invalid: it asks for more.
    """
    if not asked:
        return allowed
    wanted = frozenset(asked.split())
    if not wanted <= allowed:
        raise Invalid(errors=[{"pointer": "/scope", "detail": f"this client has only: {' '.join(sorted(allowed))}"}])
    return wanted


@dataclass(frozen=True, slots=True)
class Token:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    clients: Clients
    users: Users
    keys: SigningKeys
    clock: Clock
    ids: Ids

    async def for_client(self, client_id: str, client_secret: str, scope: str | None = None) -> Grant:
        """
        Raises:
            Unauthenticated: there is no such pair.
            Invalid: the client may not have what it asks for.
        """
        client = await self.clients.verify(client_id, client_secret)
        return await self._grant(
            tenant=client.tenant,
            client_id=client.client_id,
            user_id=None,
            scopes=decide_scopes(client.scopes, scope),
            epoch=client.epoch,
            lifetime=LIFETIME,
        )

    async def for_user(self, caller: Caller, user_id: str, lifetime: timedelta) -> Grant:
        """
        A token that acts only as this user.

        Raises:
            Forbidden: only a client may ask, and only for what it may do itself.
            NotFound: there is no such user.
        """
        if caller.user_id is not None:
            raise Forbidden("a user token cannot ask for tokens; its client can")
        caller.require(MESSAGES)
        if not await self.users.exists(caller.tenant, user_id):
            raise NotFound(f"there is no user {user_id!r}")
        epoch = await self.clients.epoch(caller.client_id, caller.tenant)
        if epoch is None:
            raise Forbidden("this client has been disabled")
        return await self._grant(
            tenant=caller.tenant,
            client_id=caller.client_id,
            user_id=user_id,
            scopes=frozenset({MESSAGES}),
            epoch=epoch,
            lifetime=lifetime,
        )

    async def _grant(
        self,
        *,
        tenant: str,
        client_id: str,
        user_id: str | None,
        scopes: frozenset[str],
        epoch: int,
        lifetime: timedelta,
    ) -> Grant:
        now = self.clock.now()
        key = await self.keys.signing()
        claims = Claims(tenant, client_id, user_id, scopes, epoch, now + lifetime, self.ids.uuid())
        token = mint(claims, kid=key.kid, key=key.private, at=now)
        return Grant(token, int(lifetime.total_seconds()), scopes)


def new(ports: Ports) -> Token:
    return Token(
        clients=Clients(ports.tables, ports.clock, ports.hasher),
        users=Users(ports.tables, ports.clock),
        keys=SigningKeys(ports.tables, ports.vault, ports.clock),
        clock=ports.clock,
        ids=ports.ids,
    )
