"""
Who is behind an ``Authorization`` header.

Verifying a signature costs about 100 µs (reliability.md 5.2) and every call needs it, so verified tokens are
remembered until they expire. What may change meanwhile, a client switched off, its secret changed, a user
erased, is asked again every few seconds.
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from shared.domain.errors import Unauthenticated
from shared.http.access_token import MAX_LENGTH, Claims, bad_token, key_id, read
from shared.http.caller import Caller
from shared.ports import Clock, Ports
from shared.repositories.clients import Clients
from shared.repositories.signing_keys import SigningKeys
from shared.repositories.users import Users

REVOKED_WITHIN = timedelta(seconds=5)
REMEMBERED = 20_000


class VerificationKeys(Protocol):
    async def public(self, kid: str) -> EllipticCurvePublicKey | None: ...


class ClientEpochs(Protocol):
    async def epoch(self, client_id: str, tenant: str) -> int | None:
        """Changes when the client's tokens are to die; None: no such client, or disabled."""
        ...


class KnownUsers(Protocol):
    async def exists(self, tenant: str, user_id: str) -> bool: ...


class _Remembered:
    __slots__ = ("caller", "claims", "good_until")

    def __init__(self, caller: Caller, claims: Claims, good_until: datetime) -> None:
        self.caller, self.claims, self.good_until = caller, claims, good_until


class Authenticator:
    """One per process; it remembers at most ``REMEMBERED`` tokens."""

    def __init__(self, *, clock: Clock, keys: VerificationKeys, clients: ClientEpochs, users: KnownUsers) -> None:
        self._clock, self._keys, self._clients, self._users = clock, keys, clients, users
        self._tokens: OrderedDict[bytes, _Remembered] = OrderedDict()

    @classmethod
    def of(cls, ports: Ports) -> "Authenticator":
        return cls(
            clock=ports.clock,
            keys=SigningKeys(ports.tables, ports.vault, ports.clock),
            clients=Clients(ports.tables, ports.clock, ports.hasher),
            users=Users(ports.tables, ports.clock),
        )

    def known(self, authorization: bytes | None) -> Caller | None:
        """The caller if the token was verified moments ago; None means: ask ``authenticate``."""
        if authorization is None:
            return None
        token = self._tokens.get(authorization)
        if token is None or self._clock.now() >= token.good_until:
            return None
        return token.caller

    async def authenticate(self, authorization: bytes | None) -> Caller:
        """
        The caller that an ``Authorization: Bearer …`` header proves.

        Raises:
            Unauthenticated: it proves nobody, or no longer.
        """
        caller = self.known(authorization)
        if caller is not None:
            return caller
        if not authorization:
            raise Unauthenticated("send Authorization: Bearer <access token>; get one at POST /auth/token")
        remembered = self._tokens.get(authorization)
        claims = await self._verify(authorization) if remembered is None else remembered.claims
        now = self._clock.now()
        if now >= claims.expires_at or not await self._stands(claims):
            self._tokens.pop(authorization, None)
            raise bad_token()
        good_until = min(claims.expires_at, now + REVOKED_WITHIN)
        caller = Caller(
            tenant=claims.tenant,
            client_id=claims.client_id,
            user_id=claims.user_id,
            scopes=claims.scopes,
            epoch=claims.epoch,
            expires_at=claims.expires_at,
        )
        self._remember(authorization, _Remembered(caller, claims, good_until))
        return caller

    async def _verify(self, authorization: bytes) -> Claims:
        scheme, _, raw = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or len(raw) > MAX_LENGTH:
            raise bad_token()
        try:
            token = raw.strip().decode("ascii")
        except UnicodeDecodeError:
            raise bad_token() from None
        key = await self._keys.public(key_id(token))
        if key is None:
            raise bad_token()
        return read(token, key)

    async def _stands(self, claims: Claims) -> bool:
        if await self._clients.epoch(claims.client_id, claims.tenant) != claims.epoch:
            return False
        return claims.user_id is None or await self._users.exists(claims.tenant, claims.user_id)

    def _remember(self, authorization: bytes, token: _Remembered) -> None:
        self._tokens[authorization] = token
        self._tokens.move_to_end(authorization)
        if len(self._tokens) > REMEMBERED:
            self._tokens.popitem(last=False)
