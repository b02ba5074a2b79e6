"""
The keys that sign access tokens: sealed at rest, two published at any time, changed by the clock alone.

Keys are numbered. Key n signs from its ``active_from`` until that of key n + 1. When the newest key begins to
sign, the next one is made, so it has been published for a whole period before its first use. A key that has
not signed for longer than a token lives is no longer published, and removed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from jwt.algorithms import ECAlgorithm

from shared.domain.identity import key_thumbprint
from shared.ports import Clock, Tables, Vault
from shared.ports.tables import Row
from shared.repositories.identity_schema import PLATFORM, SIGNING_KEYS

PERIOD = timedelta(days=30)
PUBLISHED_BEFORE_USE = timedelta(minutes=15)
"""Whoever keeps our JWKS may keep it so long (reliability.md 5.2)."""

KEPT_AFTER_USE = timedelta(hours=1, minutes=5)
"""The longest life of a token, and some."""

_READ_AGAIN_AFTER = timedelta(seconds=60)
_UNKNOWN_ASKED_AGAIN_AFTER = timedelta(seconds=1)
"""Tokens that name keys nobody has must not become a read each."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    number: int
    kid: str
    private: ec.EllipticCurvePrivateKey
    jwk: dict[str, Any]
    created_at: datetime
    active_from: datetime


class SigningKeys:
    """One per process: it remembers the keys, for reading them means unsealing."""

    def __init__(self, tables: Tables, vault: Vault, clock: Clock) -> None:
        self._tables, self._vault, self._clock = tables, vault, clock
        self._keys: list[SigningKey] = []
        self._read_at: datetime | None = None

    async def signing(self) -> SigningKey:
        """The key that signs now; by a clock that is behind the first key, that one."""
        now = self._clock.now()
        keys = await self._current(now)
        return next((key for key in reversed(keys) if key.active_from <= now), keys[0])

    async def public(self, kid: str) -> ec.EllipticCurvePublicKey | None:
        """The published key of this id, or None."""
        now = self._clock.now()
        keys = await self._current(now)
        found = _find(keys, kid)
        if found is None and self._older_than(_UNKNOWN_ASKED_AGAIN_AFTER, now):
            found = _find(await self._read(now), kid)
        return None if found is None else found.private.public_key()

    async def published(self) -> dict[str, Any]:
        """A JWK set (RFC 7517): the keys that signed lately, the one that signs, the next one."""
        return {"keys": [key.jwk for key in await self._current(self._clock.now())]}

    async def rotate(self) -> SigningKey:
        """
        Let the next key sign as soon as everybody may have seen it, at once if that long ago; the next one.

        For a key that may be known to others. To end it at once, also change the clients' secrets.
        """
        now = self._clock.now()
        keys = await self._read(now)
        following = keys[-1]
        begin = max(now, following.created_at + PUBLISHED_BEFORE_USE)
        if following.active_from > begin:
            await self._tables.update_if(
                SIGNING_KEYS,
                (PLATFORM, following.number),
                expected={"active_from": following.active_from},
                changes={"active_from": begin},
            )
        return (await self._read(now))[-1]

    async def _current(self, now: datetime) -> list[SigningKey]:
        if not self._keys or self._keys[-1].active_from <= now or self._older_than(_READ_AGAIN_AFTER, now):
            return await self._read(now)
        return self._keys

    def _older_than(self, age: timedelta, now: datetime) -> bool:
        return self._read_at is None or now - self._read_at > age

    async def _read(self, now: datetime) -> list[SigningKey]:
        keys = await self._stored()
        if not keys:
            await self._make(1, now, active_from=now)
            keys = await self._stored()
        while keys[-1].active_from <= now:
            await self._make(keys[-1].number + 1, now, active_from=now + PERIOD)
            keys = await self._stored()
        self._keys, self._read_at = await self._without_spent(keys, now), now
        return self._keys

    async def _stored(self) -> list[SigningKey]:
        rows = await self._tables.slice(SIGNING_KEYS, (PLATFORM,), limit=100, serial=True)
        known = {key.kid: key for key in self._keys}
        return [self._opened(row, known.get(str(row["kid"]))) for row in rows]

    async def _without_spent(self, keys: list[SigningKey], now: datetime) -> list[SigningKey]:
        successors = [key.active_from for key in keys[1:]]
        spent = {key.number for key, ended in zip(keys, successors, strict=False) if ended + KEPT_AFTER_USE < now}
        await self._tables.delete(SIGNING_KEYS, *((PLATFORM, number) for number in sorted(spent)))
        return [key for key in keys if key.number not in spent]

    async def _make(self, number: int, now: datetime, *, active_from: datetime) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        row: Row = {
            "tenant": PLATFORM,
            "number": number,
            "kid": key_thumbprint(_jwk(private)),
            "sealed": self._vault.seal(der),
            "created_at": now,
            "active_from": active_from,
        }
        # Two processes may try: the first one's key is the key.
        await self._tables.put_if_absent(SIGNING_KEYS, row)

    def _opened(self, row: Row, known: SigningKey | None) -> SigningKey:
        number, sealed = row["number"], row["sealed"]
        created_at, active_from = row["created_at"], row["active_from"]
        assert isinstance(number, int) and isinstance(sealed, bytes)
        assert isinstance(created_at, datetime) and isinstance(active_from, datetime)
        if known is None:
            private = load_der_private_key(self._vault.open(sealed), password=None)
            assert isinstance(private, ec.EllipticCurvePrivateKey)
        else:
            private = known.private
        kid = str(row["kid"])
        jwk = {**_jwk(private), "kid": kid, "use": "sig", "alg": "ES256"}
        return SigningKey(number, kid, private, jwk, created_at, active_from)


def _jwk(private: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    jwk: dict[str, Any] = orjson.loads(ECAlgorithm.to_jwk(private.public_key()))
    return jwk


def _find(keys: list[SigningKey], kid: str) -> SigningKey | None:
    return next((key for key in keys if key.kid == kid), None)
