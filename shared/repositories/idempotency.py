"""What was answered to requests with an Idempotency-Key, for 24 hours."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.errors import Conflict, Invalid
from shared.ports import Tables
from shared.ports.tables import Row
from shared.repositories.identity_schema import IDEMPOTENCY_KEYS

KEPT_FOR = timedelta(hours=24)
RUNS_AT_MOST = timedelta(seconds=60)
"""A request that has not answered by then died with its process; its key may be taken over."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The sealed answer of the first request."""

    answer: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run the request."""

    tenant: str
    key: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class IdempotencyKeys:
    tables: Tables

    async def claim(self, tenant: str, key: str, fingerprint: str, *, at: datetime) -> Claim | Kept:
        """
        The right to run the request, or what it answered before.

        Raises:
            Invalid: the key was used for another request.
            Conflict: the first request is still running.
        """
        row: Row = {
            "tenant": tenant,
            "key": key,
            "fingerprint": fingerprint,
            "started_at": at,
            "answer": None,
            "released": False,
        }
        there = await self.tables.put_if_absent(IDEMPOTENCY_KEYS, row, ttl=_TTL)
        if not there:
            return Claim(tenant, key, at)
        first = there[0]
        if first["released"]:
            return await self._take_over(row, first)
        if first["fingerprint"] != fingerprint:
            raise Invalid("header Idempotency-Key: this key was used for another request; make a new one")
        if isinstance(first["answer"], bytes):
            return Kept(first["answer"])
        started_at = first["started_at"]
        if isinstance(started_at, datetime) and at - started_at > RUNS_AT_MOST:
            return await self._take_over(row, first)
        raise _running()

    async def keep(self, claim: Claim, answer: bytes) -> None:
        await self._set(claim, {"answer": answer})

    async def release(self, claim: Claim) -> None:
        """Nothing was done: the key is free again."""
        await self._set(claim, {"released": True})

    async def _set(self, claim: Claim, changes: Row) -> None:
        key = (claim.tenant, claim.key)
        expected: Row = {"started_at": claim.started_at, "released": False}
        await self.tables.update_if(IDEMPOTENCY_KEYS, key, expected=expected, changes=changes, ttl=_TTL)

    async def _take_over(self, row: Row, first: Row) -> Claim:
        at = row["started_at"]
        assert isinstance(at, datetime)
        tenant, key = str(row["tenant"]), str(row["key"])
        changes: Row = {name: row[name] for name in ("fingerprint", "started_at", "answer", "released")}
        expected: Row = {name: first[name] for name in ("started_at", "released", "answer")}
        if await self.tables.update_if(IDEMPOTENCY_KEYS, (tenant, key), expected=expected, changes=changes, ttl=_TTL):
            return Claim(tenant, key, at)
        raise _running()


_TTL = int(KEPT_FOR.total_seconds())


def _running() -> Conflict:
    return Conflict("the first request with this Idempotency-Key is still running", retry_after=timedelta(seconds=1))
