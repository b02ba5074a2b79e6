"""
Signatures of webhooks as Standard Webhooks 1.0.0 says (https://www.standardwebhooks.com).

A key is ``whsec_`` and a shared secret, or ``whsk_`` and an ed25519 private key, whose public one is ``whpk_``; what
follows the prefix is base64. Each key gives one signature; receivers accept a message when any of them holds.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from shared.domain.errors import Invalid

SHARED, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
SECRET_BYTES = 32
_SHORTEST, _LONGEST = 24, 64  # bytes of a shared secret, as the standard has it


def shared_key(random: bytes) -> str:
    return SHARED + base64.b64encode(random).decode()


def private_key(random: bytes) -> str:
    """Of 32 bytes: the ed25519 seed."""
    return PRIVATE + base64.b64encode(random).decode()


def public_key(private: str) -> str:
    """
    The ``whpk_`` of a ``whsk_``: what receivers verify with.

    >>> public_key(private_key(bytes(32)))
    'whpk_O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik='
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(_decoded(private, PRIVATE))
    return PUBLIC + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def check_shared_key(key: str) -> str:
    """
    The key, which is one that a customer may choose.

    Raises:
        Invalid: it is none.
    """
    try:
        length = len(_decoded(key, SHARED))
    except ValueError:
        length = 0
    if not _SHORTEST <= length <= _LONGEST:
        detail = f"{SHARED} and the base64 of {_SHORTEST} to {_LONGEST} random bytes; leave it out and get a good one"
        raise Invalid(errors=[{"pointer": "/secret", "detail": detail}])
    return key


def headers(message_id: str, at: datetime, body: bytes, keys: Sequence[str]) -> dict[str, str]:
    """
    The three headers of one attempt.

    Args:
        message_id: the same for all attempts; has no full stop in it.
        at: when this attempt is made.
    """
    timestamp = str(int(at.timestamp()))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(key, signed) for key in keys),
    }


def _signature(key: str, signed: bytes) -> str:
    if key.startswith(SHARED):
        digest = hmac.new(_decoded(key, SHARED), signed, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(digest).decode()}"
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signature = Ed25519PrivateKey.from_private_bytes(_decoded(key, PRIVATE)).sign(signed)
    return f"v1a,{base64.b64encode(signature).decode()}"


def _decoded(key: str, prefix: str) -> bytes:
    if not key.startswith(prefix):
        raise ValueError(f"a key of this kind begins with {prefix}")
    try:
        return base64.b64decode(key.removeprefix(prefix), validate=True)
    except binascii.Error:
        raise ValueError(f"what follows {prefix} is base64") from None
