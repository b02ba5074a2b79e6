"""What happens to a conversation itself."""

from typing import ClassVar, Literal

from events.envelope import EventData
from events.vocabulary import ConversationId, Instant, UserId


class ConversationCreated(EventData, frozen=True, kw_only=True):
    """A conversation was made with these members."""

    TYPE: ClassVar[str] = "chat4all.conversation.created.v1"

    conversation_id: ConversationId
    type: Literal["private", "group"]
    members: tuple[UserId, ...]
    created_at: Instant

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.conversation_id


class MemberAdded(EventData, frozen=True, kw_only=True):
    """Somebody joined a group, or was added to it; ``by`` says who did it."""

    TYPE: ClassVar[str] = "chat4all.member.added.v1"

    conversation_id: ConversationId
    user_id: UserId
    by: UserId
    at: Instant

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
    """Somebody left a group, or was removed from it."""

    TYPE: ClassVar[str] = "chat4all.member.removed.v1"
