"""
The words that events, domain and API share, each spelled once.

Identifiers are opaque strings. Times are aware UTC datetimes with millisecond precision, because that is
what every store we use keeps and what the API prints.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

Tenant = Annotated[str, Meta(min_length=1, max_length=64)]
UserId = Annotated[str, Meta(min_length=1, max_length=128)]
ConversationId = Annotated[str, Meta(min_length=1, max_length=128)]
MessageId = Annotated[str, Meta(min_length=36, max_length=36, description="UUID, lower case")]
ChannelName = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,31}$")]
Instant = Annotated[datetime, Meta(tz=True)]
Seq = Annotated[int, Meta(ge=1, description="Number of a message in its conversation: 1, 2, 3 … no gaps")]

IN_APP: str = "chat4all"
"""The channel that is our own clients: delivered by push and by reading the timeline."""

ALL: str = "all"
"""Every active channel a recipient is linked to, and in-app (api.md, Messages)."""


class Status(StrEnum):
    """How far one delivery has come; the lattice is in ``shared.domain.status`` (A9)."""

    PENDING = "PENDING"  # planned; the channel has not been asked yet, or asked us to wait
    UNCERTAIN = "UNCERTAIN"  # the provider was asked and its answer was lost (channels.md 3.0)
    SENT = "SENT"
    FAILED = "FAILED"
    DELIVERED = "DELIVERED"
    READ = "READ"


class ReceiptKind(StrEnum):
    """What an in-app client says about everything up to a seq."""

    DELIVERED = "delivered"
    READ = "read"


class PresenceStatus(StrEnum):
    """Whether a user is there (A14)."""

    ONLINE = "online"
    AWAY = "away"
    OFFLINE = "offline"


class Text(Struct, frozen=True, kw_only=True, tag="text", tag_field="type"):
    text: str


class Media(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="media", tag_field="type"):
    """A picture, sound, film or document by reference: a public URL, or a provider's media id."""

    media_type: Literal["image", "audio", "video", "document", "sticker"]
    url: str | None = None
    provider_media_id: str | None = None
    mime_type: str | None = None
    filename: str | None = None
    caption: str | None = None


class File(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="file", tag_field="type"):
    """A file of ours, by its id (requirements B)."""

    file_id: str
    caption: str | None = None


class Placeholder(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="unsupported", tag_field="type"):
    """Something a provider sent that we do not carry yet; kept so that nobody wonders about a gap."""

    kind: str


class System(Struct, frozen=True, kw_only=True, tag="system", tag_field="type"):
    """What happened to the conversation itself: somebody joined, left, was added or removed (A5)."""

    action: Literal["joined", "left", "added", "removed"]
    user_id: UserId
    by: UserId


Payload = Text | Media | File | Placeholder | System


def rfc3339(at: datetime) -> str:
    """
    ``at`` as the API and the events print it.

    >>> rfc3339(datetime(2026, 11, 21, 3, 14, 8, 56_000, tzinfo=UTC))
    '2026-11-21T03:14:08.056Z'
    """
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
