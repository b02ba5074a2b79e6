"""
Client secrets by argon2id: t=2, m=19 MiB, p=1.

Source: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_AT_ONCE = 4  # each takes 19 MiB and a core


class Argon2Hasher:
    """The PasswordHasher port; work waits for one of its threads, so cancelled callers do not add to the load."""

    def __init__(self) -> None:
        self._argon2 = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._threads = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="argon2")

    async def hash(self, secret: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._argon2.hash, secret)

    async def verify(self, hashed: str | None, secret: str) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, hashed, secret)

    def _verify(self, hashed: str | None, secret: str) -> bool:
        if hashed is None:
            self._argon2.hash(secret)
            return False
        try:
            return self._argon2.verify(hashed, secret)
        except (VerificationError, InvalidHashError):
            return False
