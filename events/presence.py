"""Who is there."""

from typing import ClassVar

from events.envelope import EventData
from events.vocabulary import Instant, PresenceStatus, UserId


class PresenceChanged(EventData, frozen=True, kw_only=True):
    """A user came, went, or is there but busy with something else (A14)."""

    TYPE: ClassVar[str] = "chat4all.presence.changed.v1"

    user_id: UserId
    status: PresenceStatus
    last_seen: Instant

    @property
    def partition_key(self) -> str:
        return self.user_id

    @property
    def subject(self) -> str:
        return self.user_id
