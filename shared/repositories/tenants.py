"""The tenants of this installation."""

from dataclasses import dataclass

import msgspec

from shared.domain.errors import Conflict, NotFound
from shared.domain.identity import Tenant, check_tenant_name
from shared.ports import Clock, Tables
from shared.ports.tables import Row
from shared.repositories.identity_schema import PLATFORM, TENANTS

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Tenants:
    tables: Tables
    clock: Clock

    async def create(self, name: str) -> Tenant:
        """
        Raises:
            Invalid: the name is none.
            Conflict: there is one of this name.
        """
        check_tenant_name(name)
        row: Row = {
            "tenant": PLATFORM,
            "name": name,
            "created_at": self.clock.now(),
            "requests_per_minute": None,
            "messages_per_minute": None,
        }
        if await self.tables.put_if_absent(TENANTS, row):
            raise Conflict(f"there is a tenant {name!r} already")
        return _tenant(row)

    async def get(self, name: str) -> Tenant | None:
        row = await self.tables.get(TENANTS, (PLATFORM, name))
        return None if row is None else _tenant(row)

    async def limit(self, name: str, *, requests_per_minute: int | None, messages_per_minute: int | None) -> Tenant:
        """
        Give the tenant limits of its own; None: the installation's.

        Raises:
            NotFound: there is no such tenant.
            Conflict: somebody else changed them at the same moment, again and again.
        """
        changes: Row = {"requests_per_minute": requests_per_minute, "messages_per_minute": messages_per_minute}
        for _ in range(_TRIES):
            row = await self.tables.get(TENANTS, (PLATFORM, name))
            if row is None:
                raise NotFound(f"there is no tenant {name!r}")
            expected = {column: row[column] for column in changes}
            if await self.tables.update_if(TENANTS, (PLATFORM, name), expected=expected, changes=changes):
                return _tenant({**row, **changes})
        raise Conflict("somebody else is changing these limits; read them and try again")

    async def all(self, *, limit: int = 10_000) -> list[Tenant]:
        """In the order of their names."""
        return [_tenant(row) for row in await self.tables.slice(TENANTS, (PLATFORM,), limit=limit)]


def _tenant(row: Row) -> Tenant:
    return msgspec.convert(row, Tenant)
