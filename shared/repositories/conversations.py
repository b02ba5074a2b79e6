"""Conversations and who is in them (A2 to A5)."""

import asyncio
from datetime import datetime

import msgspec

from shared.domain.conversation import Conversation, pair_of
from shared.domain.errors import Conflict
from shared.ports.clock import Clock
from shared.ports.tables import Put, Row, Tables
from shared.repositories.schema import CONVERSATIONS, MEMBERS, MEMBERSHIPS, PAIRS

_MANY = 2000  # more than a conversation has members, or a page of a user's conversations


class Conversations:
    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    async def create(
        self, tenant: str, conversation: Conversation, members: tuple[str, ...]
    ) -> tuple[Conversation, bool]:
        """
        The conversation and whether it is new. A private one is found by its pair of members if there is one.

        Safe to repeat after a crash at any step: the pair names the id first, then the rows are made.

        Raises:
            Conflict: the conversation_id is that of another conversation.
        """
        conversation_id = conversation.conversation_id
        if conversation.type == "private":
            pair = pair_of(members)
            taken = await self._tables.put_if_absent(
                PAIRS, {"tenant": tenant, "pair": pair, "conversation_id": conversation_id}
            )
            if taken and taken[0]["conversation_id"] != conversation_id:
                conversation_id = str(taken[0]["conversation_id"])
                existing = await self.get(tenant, conversation_id)
                if existing is not None:
                    return existing, False
                conversation = Conversation(
                    conversation_id=conversation_id,
                    type="private",
                    created_at=conversation.created_at,
                    created_by=conversation.created_by,
                    metadata=conversation.metadata,
                )
        in_the_way = await self._tables.put_if_absent(
            CONVERSATIONS,
            {
                "tenant": tenant,
                "conversation_id": conversation_id,
                "type": conversation.type,
                "created_at": conversation.created_at,
                "created_by": conversation.created_by,
                "metadata": msgspec.json.encode(conversation.metadata),
            },
        )
        if not in_the_way:
            await self._join(tenant, conversation, members, conversation.created_by)
            return conversation, True
        existing = _conversation(in_the_way[0])
        await self._check_same(tenant, existing, conversation, members)
        return existing, False

    async def ensure(self, tenant: str, conversation: Conversation, members: tuple[str, ...]) -> Conversation:
        """
        The conversation with this id, or this pair's, as it has become since; made if it is not there.

        For ids that we derive: whoever joined and whatever its metadata say by now, it is the same one; those of
        ``members`` who are not in it come back.
        """
        existing = await self.get(tenant, conversation.conversation_id)
        if existing is None:
            try:
                existing, _ = await self.create(tenant, conversation, members)
            except Conflict:  # somebody else made it at the same moment, and others have changed it since
                existing = await self.get(tenant, conversation.conversation_id)
                if existing is None:
                    raise
        # Somebody left, or whoever made it died before its members were written.
        present = await self.members(tenant, existing.conversation_id)
        missing = tuple(user for user in members if user not in present)
        if missing:
            await self._join(tenant, existing, missing, existing.created_by)
        return existing

    async def _check_same(
        self, tenant: str, existing: Conversation, asked: Conversation, members: tuple[str, ...]
    ) -> None:
        present = await self.members(tenant, existing.conversation_id)
        if not present:
            # Whoever created it died before its members were written.
            await self._join(tenant, existing, members, existing.created_by)
            present = sorted(members)
        if (existing.type, existing.metadata, present) != (asked.type, asked.metadata, sorted(members)):
            raise Conflict("this conversation_id is that of another conversation; use a new one")

    async def get(self, tenant: str, conversation_id: str) -> Conversation | None:
        row = await self._tables.get(CONVERSATIONS, (tenant, conversation_id))
        return None if row is None else _conversation(row)

    async def is_member(self, tenant: str, conversation_id: str, user_id: str) -> bool:
        return await self._tables.get(MEMBERS, (tenant, conversation_id, user_id)) is not None

    async def members(self, tenant: str, conversation_id: str) -> list[str]:
        """User ids in alphabetical order."""
        rows = await self._tables.slice(MEMBERS, (tenant, conversation_id), limit=_MANY)
        return [str(row["user_id"]) for row in rows]

    async def roster(self, tenant: str, conversation_id: str) -> dict[str, datetime]:
        """The members and when each joined."""
        rows = await self._tables.slice(MEMBERS, (tenant, conversation_id), limit=_MANY)
        return {str(row["user_id"]): row["joined_at"] for row in rows}  # type: ignore[misc]

    async def erase_user(self, tenant: str, user_id: str) -> int:
        """Take the user out of every conversation (LGPD art. 18); how many there were."""
        removed = 0
        while conversations := await self.of_user(tenant, user_id):
            for conversation_id in conversations:
                await self.remove(tenant, conversation_id, user_id)
            removed += len(conversations)
        return removed

    async def of_user(self, tenant: str, user_id: str, *, after: str | None = None, limit: int = _MANY) -> list[str]:
        """Ids of the conversations that the user is in, in the order of the ids."""
        rows = await self._tables.slice(MEMBERSHIPS, (tenant, user_id), after=after, limit=limit)
        return [str(row["conversation_id"]) for row in rows]

    async def company(self, tenant: str, user_id: str, *, conversations: int, members: int) -> set[str]:
        """Who shares one of so many conversations with the user; those with more members are passed over."""
        found: set[str] = set()
        for conversation_id in await self.of_user(tenant, user_id, limit=conversations):
            rows = await self._tables.slice(MEMBERS, (tenant, conversation_id), limit=members + 1)
            if len(rows) <= members:
                found.update(str(row["user_id"]) for row in rows)
            await asyncio.sleep(0)
        return found - {user_id}

    async def share(self, tenant: str, one: str, other: str) -> bool:
        """Whether the two are in a conversation together."""
        if await self._tables.get(PAIRS, (tenant, pair_of((one, other)))) is not None:
            return True
        return not (await self._all_of(tenant, one)).isdisjoint(await self._all_of(tenant, other))

    async def _all_of(self, tenant: str, user_id: str) -> set[str]:
        found: set[str] = set()
        after: str | None = None
        while page := await self.of_user(tenant, user_id, after=after):
            found.update(page)
            after = page[-1]
        return found

    async def add(self, tenant: str, conversation: Conversation, user_id: str, by: str) -> None:
        await self._join(tenant, conversation, (user_id,), by)

    async def remove(self, tenant: str, conversation_id: str, user_id: str) -> None:
        await self._tables.delete(MEMBERS, (tenant, conversation_id, user_id))
        await self._tables.delete(MEMBERSHIPS, (tenant, user_id, conversation_id))

    async def update_metadata(self, tenant: str, conversation: Conversation, metadata: dict[str, str]) -> bool:
        """Replace the metadata unless somebody else has in the meantime; whether it was done."""
        return await self._tables.update_if(
            CONVERSATIONS,
            (tenant, conversation.conversation_id),
            expected={"metadata": msgspec.json.encode(conversation.metadata)},
            changes={"metadata": msgspec.json.encode(metadata)},
        )

    async def _join(self, tenant: str, conversation: Conversation, members: tuple[str, ...], by: str) -> None:
        now = self._clock.now()
        conversation_id = conversation.conversation_id
        memberships = [
            Put(MEMBERSHIPS, {"tenant": tenant, "user_id": user, "conversation_id": conversation_id, "joined_at": now})
            for user in members
        ]
        joined = [
            Put(
                MEMBERS,
                {
                    "tenant": tenant,
                    "conversation_id": conversation_id,
                    "user_id": user,
                    "joined_at": now,
                    "added_by": by,
                },
            )
            for user in members
        ]
        await self._tables.put(*memberships, *joined)


def _conversation(row: Row) -> Conversation:
    metadata = row["metadata"]
    created_at = row["created_at"]
    assert isinstance(metadata, bytes)
    return Conversation(
        conversation_id=str(row["conversation_id"]),
        type="private" if row["type"] == "private" else "group",
        created_at=created_at,  # type: ignore[arg-type]
        created_by=str(row["created_by"]),
        metadata=msgspec.json.decode(metadata, type=dict[str, str]),
    )
