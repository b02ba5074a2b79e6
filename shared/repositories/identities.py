"""
Which user is known by which identifier on which channel; one user per identifier in a tenant (C2).

Two rows: the owner's (tenant, channel, identifier) -> user, which decides, and one in the user's own list. The
list's row is there, unconfirmed, before the owner's is written and until it is removed: an erasure finds every
identifier, whatever crashed before. An owner's row that no confirmed row stands for is what a crash leaves;
after a minute it may be taken over. A contact's is finished by whoever comes next.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from shared.domain.errors import Conflict, Unavailable
from shared.domain.identity import Identity, User
from shared.ports import Clock, Ids, Tables
from shared.ports.tables import Put, Row
from shared.repositories.identity_schema import IDENTITIES, IDENTITY_OWNERS
from shared.repositories.users import Users, no_such_user

MAX_PER_USER = 100
UNCONFIRMED_FOR = timedelta(seconds=60)
MAX_DISPLAY_NAME = 200
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Owner:
    """``user_id`` is None between the two steps of giving an identifier up."""

    tenant: str
    channel: str
    identifier: str
    user_id: str | None
    claimed_at: datetime
    contact: bool

    @property
    def key(self) -> tuple[str, str, str]:
        return self.tenant, self.channel, self.identifier


@dataclass(frozen=True, slots=True)
class Identities:
    """Who is known by what; ``IdentityLinks`` changes it."""

    tables: Tables

    async def of(self, tenant: str, user_id: str) -> list[Identity]:
        """All identities of the user, active or not, by channel and identifier."""
        rows = await self.rows(tenant, user_id)
        return [msgspec.convert(row, Identity) for row in rows if row["confirmed"]]

    async def rows(self, tenant: str, user_id: str) -> list[Row]:
        """Also those that are being linked or removed."""
        return await self.tables.slice(IDENTITIES, (tenant, user_id), limit=2 * MAX_PER_USER)

    async def owner(self, tenant: str, channel: str, identifier: str) -> str | None:
        """The user who is linked to the identifier."""
        owner = await self.holder(tenant, channel, identifier)
        return owner.user_id if owner is not None and await self.confirms(owner) else None

    async def holder(self, tenant: str, channel: str, identifier: str) -> Owner | None:
        """The owner row, confirmed or not."""
        row = await self.tables.get(IDENTITY_OWNERS, (tenant, channel, identifier), serial=True)
        return None if row is None else msgspec.convert(row, Owner)

    async def confirms(self, holder: Owner) -> bool:
        """Whether the list of the row's user says the same."""
        if holder.user_id is None:
            return False
        key = (holder.tenant, holder.user_id, holder.channel, holder.identifier)
        row = await self.tables.get(IDENTITIES, key)
        return row is not None and bool(row["confirmed"])


@dataclass(frozen=True, slots=True)
class IdentityLinks:
    identities: Identities
    users: Users
    clock: Clock
    ids: Ids

    async def link(
        self, tenant: str, user_id: str, channel: str, identifier: str, *, is_active: bool = True
    ) -> tuple[Identity, bool]:
        """
        Link the identifier (in its canonical form) to the user; the identity, and whether it is new.

        Raises:
            NotFound: there is no such user.
            Conflict: the identifier is linked to another user of the tenant, or the user has too many.
        """
        if not await self.users.exists(tenant, user_id):
            raise no_such_user(user_id)
        rows = await self.identities.rows(tenant, user_id)
        before = [msgspec.convert(row, Identity) for row in rows if row["confirmed"]]
        known = next((one for one in before if (one.channel, one.identifier) == (channel, identifier)), None)
        if known is None and len(rows) >= MAX_PER_USER:
            raise Conflict(f"a user has at most {MAX_PER_USER} identities; remove one first")
        now = self.clock.now()
        identity = Identity(user_id, channel, identifier, is_active, known.linked_at if known else now)
        if known is None:
            await self._list(tenant, identity, confirmed=False)
        try:
            await self._claim(Owner(tenant, channel, identifier, user_id, now, contact=False))
        except Conflict:
            await self.identities.tables.delete(IDENTITIES, (tenant, user_id, channel, identifier))
            raise
        await self._list(tenant, identity, confirmed=True)
        # Whoever took the identifier over, or erased the user, while this was under way, wins.
        owner = await self.identities.holder(tenant, channel, identifier)
        if owner is None or owner.user_id != user_id or not await self.users.exists(tenant, user_id):
            await self.unlink(tenant, user_id, channel, identifier)
            raise Conflict(f"{channel} {identifier} was linked or removed at the same moment; try again")
        return identity, known is None

    async def unlink(self, tenant: str, user_id: str, channel: str, identifier: str) -> bool:
        """Whether the user was linked to it."""
        key = (tenant, user_id, channel, identifier)
        row = await self.identities.tables.get(IDENTITIES, key)
        if row is not None:
            await self.identities.tables.put(Put(IDENTITIES, {**row, "confirmed": False}))
        owner = await self.identities.holder(tenant, channel, identifier)
        if owner is not None and owner.user_id in (user_id, None):
            await self._release(owner)
        await self.identities.tables.delete(IDENTITIES, key)
        return row is not None

    async def unlink_all(self, tenant: str, user_id: str) -> int:
        """How many there were."""
        removed = 0
        while rows := await self.identities.rows(tenant, user_id):
            for row in rows:
                await self.unlink(tenant, user_id, str(row["channel"]), str(row["identifier"]))
            removed += len(rows)
        return removed

    async def ensure_contact(self, tenant: str, channel: str, identifier: str, display_name: str | None = None) -> str:
        """
        The user who writes from this identifier; a contact is made of an unknown one. Repeating gives the same.

        Raises:
            Unavailable: the identifier is just changing hands; try again.
        """
        for _ in range(_ATTEMPTS):
            owner = await self.identities.holder(tenant, channel, identifier)
            if owner is not None and owner.user_id is not None:
                if await self.identities.confirms(owner):
                    return owner.user_id
                if owner.contact and await self._finish_contact(owner, display_name):
                    return owner.user_id
            fresh = Owner(tenant, channel, identifier, f"contact-{self.ids.uuid()}", self.clock.now(), contact=True)
            try:
                await self._claim(fresh)
            except Conflict:
                continue
            if fresh.user_id is not None and await self._finish_contact(fresh, display_name):
                return fresh.user_id
        raise Unavailable(f"an identifier on {channel} is just changing hands", retry_after=UNCONFIRMED_FOR / 10)

    async def _finish_contact(self, owner: Owner, display_name: str | None) -> bool:
        """False when the contact was erased: the person who writes again is a new one to us."""
        assert owner.user_id is not None
        now = self.clock.now()
        name = display_name[:MAX_DISPLAY_NAME] if display_name else None
        identity = Identity(owner.user_id, owner.channel, owner.identifier, True, owner.claimed_at)
        await self._list(owner.tenant, identity, confirmed=False)
        try:
            await self.users.create(
                owner.tenant, User(owner.user_id, now, now, display_name=name, contact_of=owner.channel)
            )
        except Conflict:
            if not await self.users.exists(owner.tenant, owner.user_id):
                await self.unlink(owner.tenant, owner.user_id, owner.channel, owner.identifier)
                return False
        await self._list(owner.tenant, identity, confirmed=True)
        return True

    async def _claim(self, wanted: Owner) -> None:
        row: Row = {
            "tenant": wanted.tenant,
            "channel": wanted.channel,
            "identifier": wanted.identifier,
            "user_id": wanted.user_id,
            "claimed_at": wanted.claimed_at,
            "contact": wanted.contact,
        }
        there = await self.identities.tables.put_if_absent(IDENTITY_OWNERS, row)
        if not there:
            return
        holder = msgspec.convert(there[0], Owner)
        if holder.user_id == wanted.user_id:
            return
        if await self.identities.confirms(holder):
            raise Conflict(
                f"{wanted.channel} {wanted.identifier} is linked to the user {holder.user_id!r}; remove that first"
            )
        stale = wanted.claimed_at - holder.claimed_at >= UNCONFIRMED_FOR
        if not stale or not await self.identities.tables.update_if(
            IDENTITY_OWNERS,
            wanted.key,
            expected={"user_id": holder.user_id, "claimed_at": holder.claimed_at},
            changes={name: row[name] for name in ("user_id", "claimed_at", "contact")},
        ):
            raise Conflict(f"{wanted.channel} {wanted.identifier} is just changing hands; try again in a minute")

    async def _release(self, owner: Owner) -> None:
        if await self.identities.tables.update_if(
            IDENTITY_OWNERS,
            owner.key,
            expected={"user_id": owner.user_id, "claimed_at": owner.claimed_at},
            changes={"user_id": None, "claimed_at": self.clock.now()},
        ):
            # Nobody can have claimed it since: a released row is left alone for a minute.
            await self.identities.tables.delete(IDENTITY_OWNERS, owner.key)

    async def _list(self, tenant: str, identity: Identity, *, confirmed: bool) -> None:
        row: Row = {
            "tenant": tenant,
            "user_id": identity.user_id,
            "channel": identity.channel,
            "identifier": identity.identifier,
            "is_active": identity.is_active,
            "linked_at": identity.linked_at,
            "confirmed": confirmed,
        }
        await self.identities.tables.put(Put(IDENTITIES, row))
