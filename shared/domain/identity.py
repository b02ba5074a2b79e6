"""Tenants, clients, users, and the addresses by which users are known on channels (design.md 10)."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zlib import crc32

from shared.domain.errors import Invalid

TENANT_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
USER_ID = r"^[A-Za-z0-9_][A-Za-z0-9._~@+=|-]{0,127}$"
"""No colon: ``whatsapp:+55…`` in ``to`` is an address, never a user (C9)."""

MESSAGES, USERS, CHANNELS, OPERATIONS = "messages", "users", "channels", "operations"
SCOPES = (MESSAGES, USERS, CHANNELS, OPERATIONS)
"""What a client may be allowed to do; a user's token has MESSAGES only."""

USER_SHARDS = 16

_TENANT_NAME = re.compile(TENANT_NAME[:-1] + r"\Z")


@dataclass(frozen=True, slots=True)
class Tenant:
    """The limits are per minute; None means the installation's own."""

    name: str
    created_at: datetime
    requests_per_minute: int | None = None
    messages_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """``epoch`` grows when the tokens made before are to die."""

    client_id: str
    tenant: str
    scopes: frozenset[str]
    epoch: int
    disabled: bool


@dataclass(frozen=True, slots=True)
class User:
    """``contact_of`` is the channel that a contact first wrote on; None for users that a client made."""

    user_id: str
    created_at: datetime
    updated_at: datetime
    display_name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    contact_of: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """``identifier`` is in the channel's canonical form; an inactive one is not written to."""

    user_id: str
    channel: str
    identifier: str
    is_active: bool
    linked_at: datetime


def check_tenant_name(name: str) -> str:
    """
    The name, which is one.

    Raises:
        Invalid: it is none.

    >>> check_tenant_name("acme-2")
    'acme-2'
    """
    if not _TENANT_NAME.match(name):
        raise Invalid("a tenant's name has 1 to 63 lower case letters, digits and hyphens, no hyphen first")
    return name


def shard_of(user_id: str) -> int:
    """
    The partition of a user, so that none grows for ever; never change it.

    >>> shard_of("userA")
    9
    """
    return crc32(user_id.encode("utf-8", "surrogatepass")) % USER_SHARDS


def key_thumbprint(jwk: Mapping[str, str]) -> str:
    """The id of an elliptic curve key: the SHA-256 of its required members (RFC 7638)."""
    required = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    canonical = json.dumps(required, separators=(",", ":"), sort_keys=True)
    digest = hashlib.sha256(canonical.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
