"""Clients: the programs of a tenant that may ask for tokens. Looked up before the tenant is known."""

from dataclasses import dataclass

from shared.domain.errors import Conflict, Unauthenticated
from shared.domain.identity import SCOPES, Client
from shared.ports import Clock, PasswordHasher, Tables
from shared.ports.tables import Row
from shared.repositories.identity_schema import CLIENTS, PLATFORM


@dataclass(frozen=True, slots=True)
class Clients:
    tables: Tables
    clock: Clock
    hasher: PasswordHasher

    async def create(
        self, tenant: str, client_id: str, secret: str, *, scopes: frozenset[str] = frozenset(SCOPES)
    ) -> Client:
        """
        Raises:
            Conflict: the client_id is taken.
        """
        row: Row = {
            "tenant": PLATFORM,
            "client_id": client_id,
            "owner": tenant,
            "secret_hash": await self.hasher.hash(secret),
            "scopes": " ".join(sorted(scopes)),
            "epoch": 1,
            "disabled": False,
            "created_at": self.clock.now(),
        }
        if await self.tables.put_if_absent(CLIENTS, row):
            raise Conflict(f"there is a client {client_id!r} already")
        return _client(row)

    async def ensure(self, tenant: str, client_id: str, secret: str) -> Client:
        """
        The client with this secret, whatever was there; another secret ends the tokens of the one before.

        Raises:
            Conflict: the client_id belongs to another tenant.
        """
        row = await self._row(client_id)
        if row is None:
            try:
                return await self.create(tenant, client_id, secret)
            except Conflict:
                row = await self._row(client_id)
        if row is None or row["owner"] != tenant:
            raise Conflict(f"the client {client_id!r} belongs to another tenant")
        same = await self.hasher.verify(str(row["secret_hash"]), secret)
        if same and not row["disabled"]:
            return _client(row)
        changes: Row = {
            "secret_hash": row["secret_hash"] if same else await self.hasher.hash(secret),
            "disabled": False,
        }
        return await self._change(row, changes)

    async def known(self, client_id: str) -> bool:
        """Whether there is this client, be it disabled."""
        return await self._row(client_id) is not None

    async def verify(self, client_id: str, secret: str) -> Client:
        """
        The client whose secret this is; it takes as long, and says the same, for one that does not exist.

        Raises:
            Unauthenticated: there is no such pair.
        """
        row = await self._row(client_id)
        hashed = None if row is None or row["disabled"] else str(row["secret_hash"])
        if not await self.hasher.verify(hashed, secret) or row is None:
            raise Unauthenticated("there is no client with this client_id and client_secret")
        return _client(row)

    async def disable(self, client_id: str) -> bool:
        """End the client and its tokens; False: there is none."""
        row = await self._row(client_id)
        if row is None:
            return False
        await self._change(row, {"disabled": True})
        return True

    async def epoch(self, client_id: str, tenant: str) -> int | None:
        row = await self._row(client_id)
        if row is None or row["disabled"] or row["owner"] != tenant:
            return None
        return _client(row).epoch

    async def _row(self, client_id: str) -> Row | None:
        return await self.tables.get(CLIENTS, (PLATFORM, client_id))

    async def _change(self, row: Row, changes: Row) -> Client:
        """Whatever changes, the tokens made before die."""
        client_id, epoch = str(row["client_id"]), _client(row).epoch
        changed: Row = {**changes, "epoch": epoch + 1}
        if not await self.tables.update_if(CLIENTS, (PLATFORM, client_id), expected={"epoch": epoch}, changes=changed):
            raise Conflict(f"the client {client_id!r} was changed at the same moment; look again")
        return _client({**row, **changed})


def _client(row: Row) -> Client:
    epoch = row["epoch"]
    assert isinstance(epoch, int)
    return Client(
        client_id=str(row["client_id"]),
        tenant=str(row["owner"]),
        scopes=frozenset(str(row["scopes"]).split()),
        epoch=epoch,
        disabled=bool(row["disabled"]),
    )
