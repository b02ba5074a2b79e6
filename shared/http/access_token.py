"""
Access tokens: JWT profile of RFC 9068, signed with ES256; one algorithm, fixed (RFC 8725).

The header never chooses anything but one of our own keys, by ``kid``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

from shared.domain.errors import Unauthenticated

ALGORITHM = "ES256"
TYPE = "at+jwt"
AUDIENCE = "chat4all"
ISSUER = "https://chat4all.dev"
LIFETIME = timedelta(hours=1)
MAX_LENGTH = 4096

_REQUIRED = ["iss", "aud", "sub", "exp", "iat", "jti", "tenant", "client_id", "scope", "epoch"]


@dataclass(frozen=True, slots=True)
class Claims:
    """``user_id`` is None in a client's token; ``epoch`` is the client's, whose change revokes the token."""

    tenant: str
    client_id: str
    user_id: str | None
    scopes: frozenset[str]
    epoch: int
    expires_at: datetime
    token_id: str


def mint(claims: Claims, *, kid: str, key: EllipticCurvePrivateKey, at: datetime) -> str:
    payload: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": claims.user_id or claims.client_id,
        "iat": int(at.timestamp()),
        "exp": int(claims.expires_at.timestamp()),
        "jti": claims.token_id,
        "tenant": claims.tenant,
        "client_id": claims.client_id,
        "scope": " ".join(sorted(claims.scopes)),
        "epoch": claims.epoch,
    }
    if claims.user_id is not None:
        payload["user_id"] = claims.user_id
    return jwt.encode(payload, key, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": kid})


def key_id(token: str) -> str:
    """
    The ``kid`` that the token claims.

    Raises:
        Unauthenticated: it is no token of the kind we make.
    """
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        raise bad_token() from None
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or header.get("typ") != TYPE or not isinstance(kid, str):
        raise bad_token()
    return kid


def read(token: str, key: EllipticCurvePublicKey) -> Claims:
    """
    What the token says, after its signature held. Whether it has expired is the caller's to compare.

    Raises:
        Unauthenticated: forged, for somebody else, or not of our shape.
    """
    try:
        payload: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            # The clock is a port; the caller compares.
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        return Claims(
            tenant=str(payload["tenant"]),
            client_id=str(payload["client_id"]),
            user_id=payload.get("user_id"),
            scopes=frozenset(str(payload["scope"]).split()),
            epoch=int(payload["epoch"]),
            expires_at=datetime.fromtimestamp(int(payload["exp"]), UTC),
            token_id=str(payload["jti"]),
        )
    except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError):
        raise bad_token() from None


def bad_token() -> Unauthenticated:
    return Unauthenticated("the access token is not valid or has expired; get one at POST /auth/token")
