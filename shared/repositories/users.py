"""
Users and contacts of a tenant, in 16 partitions.

An erased user leaves a tombstone: the bare id and when. The id is never given to somebody else, because other
people's messages still name it (LGPD art. 18, GDPR art. 17).
"""

import asyncio
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import orjson

from shared.domain.errors import Conflict, NotFound, Unavailable
from shared.domain.identity import USER_SHARDS, User, shard_of
from shared.ports import Clock, Tables
from shared.ports.tables import Row
from shared.repositories.identity_schema import USERS

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Users:
    tables: Tables
    clock: Clock

    async def get(self, tenant: str, user_id: str) -> User | None:
        row = await self._row(tenant, user_id)
        return None if row is None or row["erased_at"] is not None else _user(row)

    async def exists(self, tenant: str, user_id: str) -> bool:
        row = await self._row(tenant, user_id)
        return row is not None and row["erased_at"] is None

    async def missing(self, tenant: str, user_ids: Iterable[str]) -> list[str]:
        """Those of the ids that are no user's of the tenant, in their order."""
        asked = list(user_ids)
        known = await asyncio.gather(*(self.exists(tenant, user_id) for user_id in asked))
        return [user_id for user_id, exists in zip(asked, known, strict=True) if not exists]

    async def list(self, tenant: str, *, after: str = "", limit: int) -> list[User]:
        """In the order of their ids, from the first one after ``after``."""
        found: list[User] = []
        while True:
            shards = await asyncio.gather(
                *(
                    self.tables.slice(USERS, (tenant, shard), after=after or None, limit=limit)
                    for shard in range(USER_SHARDS)
                )
            )
            rows = list(heapq.merge(*shards, key=lambda row: str(row["user_id"])))[:limit]
            found += [_user(row) for row in rows if row["erased_at"] is None]
            if len(found) >= limit or len(rows) < limit:
                return found[:limit]
            after = str(rows[-1]["user_id"])

    async def create(self, tenant: str, user: User) -> tuple[User, bool]:
        """
        The user, and whether it is new: the same content again is the same user.

        Raises:
            Conflict: the id has other content, or was erased.
        """
        row: Row = {
            "tenant": tenant,
            "shard": shard_of(user.user_id),
            "user_id": user.user_id,
            "display_name": user.display_name,
            "metadata": _packed(user),
            "contact_of": user.contact_of,
            "created_at": user.created_at,
            "updated_at": user.updated_at,
            "version": 1,
            "erased_at": None,
        }
        there = await self.tables.put_if_absent(USERS, row)
        if not there:
            return user, True
        if there[0]["erased_at"] is not None:
            raise Conflict(f"the user {user.user_id!r} was erased; an id is never used again, take another one")
        known = _user(there[0])
        if (known.display_name, known.metadata) != (user.display_name, user.metadata):
            raise Conflict(f"there is a user {user.user_id!r} with other content; PATCH changes it")
        return known, False

    async def change(self, tenant: str, user_id: str, change: Callable[[User], User]) -> User:
        """
        Apply ``change`` to what is stored; it may be called again when somebody else changes the user too.

        Raises:
            NotFound: there is no such user.
        """
        for _ in range(_ATTEMPTS):
            row = await self._row(tenant, user_id)
            if row is None or row["erased_at"] is not None:
                raise no_such_user(user_id)
            changed = replace(change(_user(row)), updated_at=self.clock.now())
            if await self._set(
                row,
                {
                    "display_name": changed.display_name,
                    "metadata": _packed(changed),
                    "updated_at": changed.updated_at,
                },
            ):
                return changed
        raise Unavailable(f"the user {user_id!r} is being changed by many at once; try again")

    async def bury(self, tenant: str, user_id: str) -> datetime:
        """
        Erase the profile and leave the tombstone; when that was first done.

        Raises:
            NotFound: there was never such a user.
        """
        for _ in range(_ATTEMPTS):
            row = await self._row(tenant, user_id)
            if row is None:
                raise no_such_user(user_id)
            if isinstance(row["erased_at"], datetime):
                return row["erased_at"]
            now = self.clock.now()
            nothing: Row = {
                "display_name": None,
                "metadata": "{}",
                "contact_of": None,
                "updated_at": now,
                "erased_at": now,
            }
            if await self._set(row, nothing):
                return now
        raise Unavailable(f"the user {user_id!r} is being changed by many at once; try again")

    async def _row(self, tenant: str, user_id: str) -> Row | None:
        return await self.tables.get(USERS, (tenant, shard_of(user_id), user_id))

    async def _set(self, row: Row, changes: Row) -> bool:
        version = row["version"]
        assert isinstance(version, int)
        key = (row["tenant"], row["shard"], row["user_id"])
        return await self.tables.update_if(
            USERS, key, expected={"version": version}, changes={**changes, "version": version + 1}
        )


def no_such_user(user_id: str) -> NotFound:
    return NotFound(f"there is no user {user_id!r}")


def _packed(user: User) -> str:
    return orjson.dumps(dict(user.metadata)).decode()


def _user(row: Row) -> User:
    return msgspec.convert({**row, "metadata": orjson.loads(str(row["metadata"]))}, User)
