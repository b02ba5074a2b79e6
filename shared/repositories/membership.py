"""Joining a group, as everybody in it sees it: the member's row, the system message (A5) and the event."""

from typing import Literal

from events import Event, MemberAdded, derived_id
from events.vocabulary import ReceiptKind, System
from shared.domain.conversation import Conversation
from shared.domain.message import Draft
from shared.ports import Clock, EventSink
from shared.repositories.conversations import Conversations
from shared.repositories.cursors import Cursors
from shared.repositories.timeline import Timeline


class Membership:
    def __init__(
        self, conversations: Conversations, cursors: Cursors, timeline: Timeline, sink: EventSink, clock: Clock
    ) -> None:
        self._conversations = conversations
        self._cursors = cursors
        self._timeline = timeline
        self._sink = sink
        self._clock = clock

    async def join(
        self,
        tenant: str,
        conversation: Conversation,
        user_id: str,
        by: str,
        *,
        cause: str,
        source: str,
        traceparent: str | None,
    ) -> None:
        """
        Take the user into the group; whether they may is the caller's business.

        The row is written last and the ids come from ``cause``, what made them join: who died half-way repeats
        it, and the group is told once.
        """
        conversation_id = conversation.conversation_id
        action: Literal["joined", "added"] = "joined" if user_id == by else "added"
        head = await self._timeline.head(tenant, conversation_id)
        await self._cursors.move(tenant, conversation_id, f"{ReceiptKind.READ}/{user_id}", head)
        draft = Draft(
            message_id=derived_id("joined", tenant, conversation_id, user_id, cause),
            conversation_id=conversation_id,
            sender=by,
            payload=System(action=action, user_id=user_id, by=by),
        )
        told = await self._timeline.accept(tenant, draft, source=source, traceparent=traceparent)
        at = told.message.created_at
        await self._sink.emit(
            Event(
                id=derived_id("member", tenant, conversation_id, user_id, cause),
                source=source,
                tenant=tenant,
                time=at,
                data=MemberAdded(conversation_id=conversation_id, user_id=user_id, by=by, at=at),
                traceparent=traceparent,
            )
        )
        await self._conversations.add(tenant, conversation, user_id, by)
