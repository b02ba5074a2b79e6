"""
conversations: private ones and groups, who is in them, and what was said last (A2 to A5).

Takes HTTP (http.py); emits chat4all.conversation.created.v1, chat4all.member.added.v1 and .removed.v1. Who comes
and goes is a system message in the timeline too.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from events import ConversationCreated, Event, EventData, MemberRemoved, MessageAccepted, derived_id
from events.vocabulary import ReceiptKind, Status, System
from shared.domain.conversation import MAX_MEMBERS, Conversation, Type, check_members
from shared.domain.errors import Conflict, Forbidden, Invalid, NotFound
from shared.domain.message import Draft
from shared.ports import Clock, EventSink, Ids, Ports
from shared.repositories.conversations import Conversations
from shared.repositories.cursors import Cursors
from shared.repositories.membership import Membership
from shared.repositories.receipts import Receipts
from shared.repositories.timeline import Timeline
from shared.repositories.users import Users

SOURCE = "/functions/conversations"
_COUNTED = 200  # unread messages that are counted one by one
_PAGE = 500  # memberships read at once


@dataclass(frozen=True, slots=True)
class Summary:
    """A conversation as its member's list shows it."""

    conversation: Conversation
    members: Sequence[str]
    last: MessageAccepted | None
    unread: int


def decide_change(conversation: Conversation, members: Collection[str], user_id: str, by: str, adding: bool) -> bool:
    """
    Whether the change is one; adding who is there and removing who is not changes nothing.

    Raises:
        Forbidden: the one who asks is not in the group.
        Conflict: a private conversation keeps its two members.
        Invalid: the group is full.
    """
    if by not in members and not (user_id == by and not adding):
        raise Forbidden("only members of a group may change who is in it")
    if conversation.type == "private":
        raise Conflict("a private conversation keeps its two members; make a group instead")
    if adding and user_id not in members and len(members) >= MAX_MEMBERS:
        raise Invalid(errors=[{"pointer": "/user_id", "detail": f"a group has at most {MAX_MEMBERS} members"}])
    return adding != (user_id in members)


@dataclass(frozen=True, slots=True)
class ConversationBook:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    clock: Clock
    ids: Ids
    sink: EventSink
    users: Users
    conversations: Conversations
    timeline: Timeline
    receipts: Receipts
    membership: Membership

    async def create(
        self,
        tenant: str,
        by: str,
        kind: Type,
        members: Collection[str],
        metadata: dict[str, str],
        conversation_id: str | None,
        traceparent: str | None,
    ) -> tuple[Conversation, Sequence[str], bool]:
        """
        The conversation, its members, and whether it is new.

        Raises:
            NotFound: ``by`` is no user.
            Invalid: unknown members, or too few or many.
            Conflict: the conversation_id is that of another conversation.
        """
        unique = check_members(kind, members)
        if by not in unique and not await self.users.exists(tenant, by):
            raise NotFound(f"there is no user {by!r}")
        missing = await self.users.missing(tenant, unique)
        if missing:
            detail = f"there are no such users: {', '.join(missing[:10])}; make them with POST /v1/users"
            raise Invalid(errors=[{"pointer": "/members", "detail": detail}])
        now = self.clock.now()
        asked = Conversation(
            conversation_id=conversation_id or self.ids.uuid(),
            type=kind,
            created_at=now,
            created_by=by,
            metadata=metadata,
        )
        conversation, created = await self.conversations.create(tenant, asked, unique)
        present = await self.conversations.members(tenant, conversation.conversation_id)
        data = ConversationCreated(
            conversation_id=conversation.conversation_id,
            type=conversation.type,
            members=tuple(present),
            created_at=conversation.created_at,
        )
        event_id = derived_id("conversation", tenant, conversation.conversation_id)
        await self.sink.emit(self._event(event_id, tenant, data, traceparent))
        return conversation, present, created

    async def of_reader(self, tenant: str, conversation_id: str, user_id: str | None) -> tuple[Conversation, list[str]]:
        """
        Args:
            user_id: who asks; None for a client that asks for its tenant.

        Raises:
            NotFound: no such conversation, or not one of this user's.
        """
        conversation = await self.conversations.get(tenant, conversation_id)
        if conversation is not None and user_id is not None:
            is_member = await self.conversations.is_member(tenant, conversation_id, user_id)
            conversation = conversation if is_member else None
        if conversation is None:
            raise NotFound(f"there is no conversation {conversation_id!r} here")
        return conversation, await self.conversations.members(tenant, conversation_id)

    async def of_user(self, tenant: str, user_id: str) -> list[Summary]:
        """
        All conversations of the user, the one with the latest activity first.

        Raises:
            NotFound: there is no such user.
        """
        found = []
        after: str | None = None
        while page := await self.conversations.of_user(tenant, user_id, after=after, limit=_PAGE):
            for conversation_id in page:
                conversation = await self.conversations.get(tenant, conversation_id)
                if conversation is not None:
                    found.append(await self.summary(tenant, conversation, user_id))
                await asyncio.sleep(0)  # somebody in a thousand conversations holds nobody up
            after = page[-1]
        if not found and not await self.users.exists(tenant, user_id):
            raise NotFound(f"there is no user {user_id!r}")
        return sorted(found, key=_activity, reverse=True)

    async def summary(self, tenant: str, conversation: Conversation, user_id: str | None) -> Summary:
        """``user_id`` is whose unread messages are counted; None: nobody's."""
        conversation_id = conversation.conversation_id
        last = await self.timeline.last(tenant, conversation_id)
        unread = 0
        if user_id is not None and last is not None:
            unread = await self._unread(tenant, conversation_id, user_id, last.seq)
        return Summary(conversation, await self.conversations.members(tenant, conversation_id), last, unread)

    async def _unread(self, tenant: str, conversation_id: str, user_id: str, head: int) -> int:
        """Messages of others after the user's read cursor; of more than 200 an upper bound."""
        cursor = await self.receipts.cursor(tenant, conversation_id, user_id, ReceiptKind.READ)
        if head - cursor > _COUNTED:
            return head - cursor
        messages = await self.timeline.since(tenant, conversation_id, cursor, max(head - cursor, 1))
        theirs = [one for one in messages if one.sender != user_id and not isinstance(one.payload, System)]
        covered = await self.receipts.coverage(tenant, conversation_id, user_id, cursor + 1, head)
        return sum(all(report.status is not Status.READ for report in covered.reports(one.seq)) for one in theirs)

    async def add(self, tenant: str, conversation_id: str, user_id: str, by: str, traceparent: str | None) -> None:
        """
        Raises:
            NotFound, Forbidden, Conflict, Invalid: see ``decide_change``; Invalid also for an unknown user.
        """
        conversation, members = await self._for_change(tenant, conversation_id, by)
        if not decide_change(conversation, members, user_id, by, adding=True):
            return
        if not await self.users.exists(tenant, user_id):
            raise Invalid(errors=[{"pointer": "/user_id", "detail": f"there is no user {user_id!r}"}])
        await self.membership.join(
            tenant, conversation, user_id, by, cause=self.ids.uuid(), source=SOURCE, traceparent=traceparent
        )

    async def remove(self, tenant: str, conversation_id: str, user_id: str, by: str, traceparent: str | None) -> None:
        """Leaving is removing oneself; raises as ``add``."""
        conversation, members = await self._for_change(tenant, conversation_id, by)
        if not decide_change(conversation, members, user_id, by, adding=False):
            raise NotFound(f"{user_id!r} is not a member of this conversation")
        action: Literal["left", "removed"] = "left" if user_id == by else "removed"
        await self._tell(tenant, conversation_id, System(action=action, user_id=user_id, by=by), traceparent)
        await self.conversations.remove(tenant, conversation_id, user_id)
        now = self.clock.now()
        data = MemberRemoved(conversation_id=conversation_id, user_id=user_id, by=by, at=now)
        await self.sink.emit(self._event(self.ids.uuid(), tenant, data, traceparent))

    async def change_metadata(
        self, tenant: str, conversation_id: str, by: str | None, metadata: dict[str, str]
    ) -> tuple[Conversation, list[str]]:
        """
        Raises:
            NotFound: no such conversation of this member.
            Conflict: somebody else changed it at the same moment.
        """
        conversation, members = await self.of_reader(tenant, conversation_id, by)
        if metadata != conversation.metadata and not await self.conversations.update_metadata(
            tenant, conversation, metadata
        ):
            raise Conflict("somebody else changed the conversation at the same moment; read it and try again")
        changed = await self.conversations.get(tenant, conversation_id)
        return changed or conversation, members

    async def _for_change(self, tenant: str, conversation_id: str, by: str) -> tuple[Conversation, list[str]]:
        conversation = await self.conversations.get(tenant, conversation_id)
        if conversation is None:
            raise NotFound(f"there is no conversation {conversation_id!r}")
        return conversation, await self.conversations.members(tenant, conversation_id)

    async def _tell(self, tenant: str, conversation_id: str, system: System, traceparent: str | None) -> None:
        """The system message that records the change (A5)."""
        draft = Draft(message_id=self.ids.uuid(), conversation_id=conversation_id, sender=system.by, payload=system)
        await self.timeline.accept(tenant, draft, source=SOURCE, traceparent=traceparent)

    def _event(self, event_id: str, tenant: str, data: EventData, traceparent: str | None) -> Event[Any]:
        return Event(
            id=event_id, source=SOURCE, tenant=tenant, time=self.clock.now(), data=data, traceparent=traceparent
        )


def _activity(summary: Summary) -> tuple[Any, str]:
    at = summary.conversation.created_at if summary.last is None else summary.last.created_at
    return at, summary.conversation.conversation_id


def new(ports: Ports) -> ConversationBook:
    conversations = Conversations(ports.tables, ports.clock)
    timeline = Timeline(ports.tables, ports.outbox, ports.cache, ports.clock)
    return ConversationBook(
        clock=ports.clock,
        ids=ports.ids,
        sink=ports.sink,
        users=Users(ports.tables, ports.clock),
        conversations=conversations,
        timeline=timeline,
        receipts=Receipts(ports.tables),
        membership=Membership(conversations, Cursors(ports.tables), timeline, ports.sink, ports.clock),
    )
