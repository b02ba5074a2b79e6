"""What happens to a conversation itself."""

from datetime import datetime
from typing import ClassVar, Literal

from events.envelope import EventData
from events.vocabulary import ConversationId, UserId


class ConversationCreated(EventData, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "chat4all.conversation.created.v1"

    conversation_id: ConversationId
    type: Literal["private", "group"]
    members: tuple[UserId, ...]
    created_at: datetime

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.conversation_id


class MemberAdded(EventData, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "chat4all.member.added.v1"

    conversation_id: ConversationId
    user_id: UserId
    by: UserId
    at: datetime

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.conversation_id

    @property
    def part(self) -> str:
        return self.user_id


class MemberRemoved(MemberAdded, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "chat4all.member.removed.v1"
