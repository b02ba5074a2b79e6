"""Secrets at rest: the provider tokens of tenants and our own signing keys."""

from typing import Protocol


class Vault(Protocol):
    def seal(self, secret: bytes) -> bytes:
        """Encrypt and authenticate."""
        ...

    def open(self, sealed: bytes) -> bytes:
        """
        Raises:
            Unavailable: the key that sealed it is not here, or the bytes were changed.
        """
        ...


class PasswordHasher(Protocol):
    """Client secrets, one way. Both are slow on purpose (argon2id) and bounded in concurrency."""

    async def hash(self, secret: str) -> str: ...

    async def verify(self, hashed: str | None, secret: str) -> bool:
        """Whether ``secret`` made ``hashed``; None costs the same time and is False."""
        ...
