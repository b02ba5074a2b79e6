"""
Users, and the addresses by which they are known on channels (C2); erasure (LGPD art. 18, GDPR art. 17).

Takes no event and emits none; its face is HTTP.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Protocol

import msgspec

from events import EventData
from shared.domain.errors import Invalid, NotFound
from shared.domain.frames import ErasedFrame, user_subject
from shared.domain.identity import Identity, User
from shared.domain.merge_patch import merge_patch
from shared.ports import Channels, Clock, FanOut, Ports
from shared.repositories.addresses import Addresses
from shared.repositories.conversations import Conversations
from shared.repositories.files import Files
from shared.repositories.identities import Identities, IdentityLinks
from shared.repositories.presence import Presence
from shared.repositories.uploads import Uploads
from shared.repositories.users import Users, no_such_user


class PersonalData(Protocol):
    """Something that keeps data about users, and forgets it. Repeating it is harmless."""

    async def erase_user(self, tenant: str, user_id: str) -> int:
        """How many things were removed."""
        ...


@dataclass(frozen=True, slots=True)
class Erasure:
    """``removed`` counts what this call removed, by kind; a repeated call finds nothing left."""

    user_id: str
    erased_at: datetime
    removed: Mapping[str, int]


def decide_change(user: User, patch: Mapping[str, Any]) -> User:
    """The user after a merge patch (RFC 7396) of display_name and metadata."""
    changed: dict[str, Any] = merge_patch(
        {"display_name": user.display_name, "metadata": dict(user.metadata)}, dict(patch)
    )
    return replace(user, display_name=changed.get("display_name"), metadata=changed.get("metadata") or {})


@dataclass(frozen=True, slots=True)
class UserAccounts:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    users: Users
    identities: Identities
    links: IdentityLinks
    channels: Channels
    clock: Clock
    fan_out: FanOut
    personal_data: Mapping[str, PersonalData] = field(default_factory=dict)

    async def create(
        self, tenant: str, user_id: str, display_name: str | None, metadata: Mapping[str, str]
    ) -> tuple[User, bool]:
        """The user, and whether it is new; see ``Users.create``."""
        now = self.clock.now()
        return await self.users.create(
            tenant, User(user_id, now, now, display_name=display_name, metadata=dict(metadata))
        )

    async def get(self, tenant: str, user_id: str) -> User:
        user = await self.users.get(tenant, user_id)
        if user is None:
            raise no_such_user(user_id)
        return user

    async def change(self, tenant: str, user_id: str, patch: Mapping[str, Any]) -> User:
        return await self.users.change(tenant, user_id, lambda user: decide_change(user, patch))

    async def erase(self, tenant: str, user_id: str) -> Erasure:
        """
        Forget the person; the bare id stays as a tombstone and is never given to somebody else.

        First the tombstone, so that nothing new can be attached; a call that died half-way is completed by
        the next one.

        Raises:
            NotFound: there was never such a user.
        """
        erased_at = await self.users.bury(tenant, user_id)
        await self.fan_out.publish(user_subject(tenant, user_id), msgspec.json.encode(ErasedFrame()))
        removed = {kind: await data.erase_user(tenant, user_id) for kind, data in self.personal_data.items()}
        removed["identities"] = await self.links.unlink_all(tenant, user_id)
        return Erasure(user_id, erased_at, removed)

    async def link(
        self, tenant: str, user_id: str, channel: str, identifier: str, is_active: bool
    ) -> tuple[Identity, bool]:
        """
        Raises:
            Invalid: no such channel, or the identifier is none of its.
            NotFound, Conflict: see ``IdentityLinks.link``.
        """
        try:
            checked = self.channels.type_of(channel).check_address(identifier)
        except NotFound as error:
            raise Invalid(errors=[{"pointer": "/channel", "detail": error.detail}]) from None
        except Invalid as error:
            raise Invalid(errors=[{"pointer": "/identifier", "detail": error.detail}]) from None
        return await self.links.link(tenant, user_id, channel, checked, is_active=is_active)

    async def unlink(self, tenant: str, user_id: str, channel: str, identifier: str) -> None:
        """
        Raises:
            NotFound: the user is not linked to it.
        """
        # It may have been linked while the channel was installed, or when it took such an identifier.
        with suppress(NotFound, Invalid):
            identifier = self.channels.type_of(channel).check_address(identifier)
        if not await self.links.unlink(tenant, user_id, channel, identifier):
            raise NotFound(f"the user {user_id!r} has no identity {identifier!r} on {channel}")

    async def linked(self, tenant: str, user_id: str) -> Sequence[Identity]:
        """
        Raises:
            NotFound: there is no such user.
        """
        await self.get(tenant, user_id)
        return await self.identities.of(tenant, user_id)


def new(ports: Ports) -> UserAccounts:
    users = Users(ports.tables, ports.clock)
    identities = Identities(ports.tables)
    conversations = Conversations(ports.tables, ports.clock)
    return UserAccounts(
        users=users,
        identities=identities,
        links=IdentityLinks(identities, users, ports.clock, ports.ids),
        channels=ports.channels,
        clock=ports.clock,
        fan_out=ports.fan_out,
        # Memberships tell where the mailboxes are, so they are forgotten last.
        personal_data={
            "presence": Presence(ports.tables, ports.sink, ports.clock),
            "uploads": Uploads(ports.tables, Files(ports.tables, ports.clock), ports.objects, ports.clock),
            "addresses": Addresses(ports.tables, conversations),
            "memberships": conversations,
        },
    )
