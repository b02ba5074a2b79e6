"""
push: what happened goes to whoever is listening right now; in-app delivery (design.md 11, docs/adr/0024).

Takes chat4all.message.accepted.v1, chat4all.receipt.reported.v1, chat4all.message.sent.v1, .delivered.v1, .read.v1
and .failed.v1, chat4all.conversation.created.v1, chat4all.member.added.v1 and .removed.v1,
chat4all.presence.changed.v1, chat4all.file.ready.v1 and .rejected.v1; emits nothing. What nobody listens to is left
for the cursors of its readers.

A message and a change of members go to the conversation. A receipt goes to who sent the messages that it is about
and to the other devices of who gave it: in a group of a thousand, telling everybody would be a million frames. Who
comes and goes is told to those who share a conversation with them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Literal

import msgspec

from events import (
    ConversationCreated,
    Event,
    EventData,
    FileReady,
    FileRejected,
    MemberAdded,
    MemberRemoved,
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageRead,
    MessageSent,
    PresenceChanged,
    ReceiptReported,
)
from events.vocabulary import IN_APP, ReceiptKind, Status, rfc3339
from functions.push.senders import Senders
from shared.domain.errors import Unavailable
from shared.domain.frames import (
    ConversationFrame,
    FileFrame,
    Frame,
    PresenceFrame,
    ReceiptFrame,
    conversation_subject,
    message_frame,
    user_subject,
)
from shared.observability import metrics
from shared.ports import Clock, FanOut, Ports
from shared.repositories.conversations import Conversations
from shared.repositories.timeline import Timeline

MessageNews = MessageSent | MessageDelivered | MessageRead | MessageFailed

WHOLE_CONVERSATION = 200
"""A receipt of more messages than that is told to everybody: finding their senders would cost more."""
COMPANY_CONVERSATIONS = 200
COMPANY_GROUP = 100
"""Somebody's presence is told in so many of their conversations, and in none with more members than that."""
_JOINING = timedelta(seconds=30)
"""How long a newcomer's row may take to follow the event that they joined."""

_encode = msgspec.json.Encoder().encode


def decide(data: EventData, seq: int = 0) -> Frame:
    """The frame that tells of ``data``; ``seq`` is the number of the message that a provider's status is about."""
    match data:
        case MessageAccepted():
            return message_frame(data)
        case ReceiptReported():
            return ReceiptFrame(
                conversation_id=data.conversation_id,
                recipient=data.user_id,
                channel=IN_APP,
                status=Status.READ if data.kind is ReceiptKind.READ else Status.DELIVERED,
                from_seq=data.from_seq,
                to_seq=data.to_seq,
                at=rfc3339(data.at),
            )
        case MessageSent() | MessageDelivered() | MessageRead() | MessageFailed():
            return ReceiptFrame(
                conversation_id=data.conversation_id,
                recipient=data.recipient,
                channel=data.channel,
                status=data.status,
                from_seq=seq,
                to_seq=seq,
                at=rfc3339(data.at),
                message_id=data.message_id,
                reason=data.reason,
            )
        case ConversationCreated():
            return ConversationFrame(
                action="created",
                conversation_id=data.conversation_id,
                at=rfc3339(data.created_at),
                members=data.members,
                conversation_type=data.type,
            )
        case MemberAdded():
            return ConversationFrame(
                action=_action(data),
                conversation_id=data.conversation_id,
                at=rfc3339(data.at),
                user_id=data.user_id,
                by=data.by,
            )
        case PresenceChanged():
            return PresenceFrame(user_id=data.user_id, status=data.status, last_seen=rfc3339(data.last_seen))
        case FileReady() | FileRejected():
            return FileFrame(
                file_id=data.file_id,
                conversation_id=data.conversation_id,
                upload_status="ready" if isinstance(data, FileReady) else "rejected",
                at=rfc3339(data.at),
                reason=data.reason if isinstance(data, FileRejected) else None,
            )
    raise TypeError(type(data).__name__)


def _action(change: MemberAdded) -> Literal["joined", "added", "left", "removed"]:
    alone = change.user_id == change.by
    if isinstance(change, MemberRemoved):
        return "left" if alone else "removed"
    return "joined" if alone else "added"


@dataclass(frozen=True, slots=True)
class Push:
    accepts: ClassVar[tuple[type[EventData], ...]] = (
        MessageAccepted,
        ReceiptReported,
        MessageSent,
        MessageDelivered,
        MessageRead,
        MessageFailed,
        ConversationCreated,
        MemberAdded,
        MemberRemoved,
        PresenceChanged,
        FileReady,
        FileRejected,
    )

    clock: Clock
    fan_out: FanOut
    timeline: Timeline
    senders: Senders
    conversations: Conversations

    async def handle(self, event: Event[Any]) -> None:
        match event.data:
            case MessageAccepted():
                await self._message(event.tenant, event.data)
            case ReceiptReported():
                await self._receipt(event.tenant, event.data)
            case MessageSent() | MessageDelivered() | MessageRead() | MessageFailed():
                await self._status(event.tenant, event.data)
            case ConversationCreated() as created:
                await self._publish(created, (user_subject(event.tenant, user) for user in created.members))
            case MemberAdded():
                await self._member(event)
            case PresenceChanged():
                await self._presence(event.tenant, event.data)
            case FileReady() | FileRejected() as verified:
                await self._publish(verified, (user_subject(event.tenant, verified.owner),))

    async def _message(self, tenant: str, message: MessageAccepted) -> None:
        self.senders.remember(tenant, message)
        subject = conversation_subject(tenant, message.conversation_id)
        if not self.fan_out.heard(subject):
            metrics.message_left(tenant)
            return
        if message.expires_at is not None:
            # Its payload is not in the event, so that the log forgets it too (A15).
            message = await self.timeline.find(tenant, message.message_id) or message
        await self.fan_out.publish(subject, _encode(message_frame(message)))
        metrics.message_pushed(tenant)

    async def _receipt(self, tenant: str, receipt: ReceiptReported) -> None:
        first, last = receipt.from_seq, receipt.to_seq
        if last - first >= WHOLE_CONVERSATION:
            await self._publish(receipt, (conversation_subject(tenant, receipt.conversation_id),))
            return
        concerned = await self.senders.of(tenant, receipt.conversation_id, first, last) | {receipt.user_id}
        await self._publish(receipt, (user_subject(tenant, user) for user in concerned))

    async def _status(self, tenant: str, news: MessageNews) -> None:
        if news.channel == IN_APP:
            return  # the range that it was made from has been pushed
        message = await self.timeline.find(tenant, news.message_id)
        if message is not None:
            await self._publish(news, (user_subject(tenant, message.sender),), message.seq)

    async def _member(self, event: Event[MemberAdded]) -> None:
        """To the conversation, and to whom it concerns: nobody listens to a conversation that they are not in."""
        tenant, change = event.tenant, event.data
        if not isinstance(change, MemberRemoved) and not await self._has_joined(event):
            return
        subjects = (conversation_subject(tenant, change.conversation_id), user_subject(tenant, change.user_id))
        await self._publish(change, subjects)

    async def _has_joined(self, event: Event[MemberAdded]) -> bool:
        """
        False for somebody who has left since.

        Raises:
            Unavailable: their row, which is written last, is not there yet; a gateway would not let them listen.
        """
        joined = await self.conversations.is_member(event.tenant, event.data.conversation_id, event.data.user_id)
        if not joined and self.clock.now() - event.time < _JOINING:
            raise Unavailable("the newcomer's row is not there yet")
        return joined

    async def _presence(self, tenant: str, change: PresenceChanged) -> None:
        company = await self.conversations.company(
            tenant, change.user_id, conversations=COMPANY_CONVERSATIONS, members=COMPANY_GROUP
        )
        await self._publish(change, (user_subject(tenant, user) for user in company))

    async def _publish(self, data: EventData, subjects: Iterable[str], seq: int = 0) -> None:
        heard: Collection[str] = [subject for subject in subjects if self.fan_out.heard(subject)]
        if not heard:
            return
        frame = _encode(decide(data, seq))
        for subject in heard:
            await self.fan_out.publish(subject, frame)
        metrics.frames_published(data.TYPE, len(heard))


def new(ports: Ports) -> Push:
    timeline = Timeline(ports.tables, ports.outbox, ports.cache, ports.clock)
    return Push(
        clock=ports.clock,
        fan_out=ports.fan_out,
        timeline=timeline,
        senders=Senders(timeline),
        conversations=Conversations(ports.tables, ports.clock),
    )
