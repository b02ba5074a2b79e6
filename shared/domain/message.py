"""
What a message is before it has a number: checked, addressed, with a fingerprint.

The fingerprint is what "the same content" means (A11): the same message_id with the same fingerprint is the
same message, with another one a conflict.
"""

import hashlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from events import MessageAccepted, derived_id
from events.vocabulary import ALL, IN_APP, File, Media, Payload, Placeholder, Text
from shared.domain.errors import FieldError, Invalid
from shared.domain.file import MAX_CAPTION

MAX_TEXT = 65_536  # characters; channels that take less get it in parts
MAX_RECIPIENTS = 1000
MAX_METADATA = 50  # entries
MAX_METADATA_VALUE = 2000  # characters
EXPIRED = Placeholder(kind="expired")
"""What is left of a message after its TTL; its number stays."""
ROUTE_CHECKPOINT = 256
"""Every so many numbers route is woken also for an in-app message, so that its cursor is never far behind."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_PREFIXED = re.compile(r"([a-z][a-z0-9_-]{0,31}):(.+)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message that was checked and has no number yet; ids are canonical."""

    message_id: str
    conversation_id: str
    sender: str
    payload: Payload
    to: tuple[str, ...] | None = None
    channels: tuple[str, ...] = (IN_APP,)
    metadata: dict[str, str] = field(default_factory=dict)
    request_delivery_receipt: bool = False
    request_read_receipt: bool = False
    reply_to: str | None = None
    ttl_seconds: int | None = None
    origin: str | None = None
    fresh: bool = False
    """The message_id was drawn just now: nobody can have sent it before."""

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256, shortened to 128 bits, of everything that the sender chose."""
        chosen = (
            self.conversation_id,
            self.sender,
            self.payload,
            self.to,
            self.channels,
            sorted(self.metadata.items()),
            self.request_delivery_receipt,
            self.request_read_receipt,
            self.reply_to,
            self.ttl_seconds,
        )
        return hashlib.sha256(msgspec.json.encode(chosen)).hexdigest()[:32]

    def accepted(self, seq: int, at: datetime, *, webhooks: bool = False, push: bool = True) -> MessageAccepted:
        """``webhooks``: one asks for accepted messages; ``push``: somebody may hold a socket."""
        leaves = self.channels != (IN_APP,) or any(prefixed(entry) for entry in self.to or ())
        return MessageAccepted(
            message_id=self.message_id,
            conversation_id=self.conversation_id,
            seq=seq,
            sender=self.sender,
            payload=self.payload,
            created_at=at,
            to=self.to,
            channels=self.channels,
            metadata=self.metadata,
            request_delivery_receipt=self.request_delivery_receipt,
            request_read_receipt=self.request_read_receipt,
            reply_to=self.reply_to,
            expires_at=None if self.ttl_seconds is None else at + timedelta(seconds=self.ttl_seconds),
            origin=self.origin,
            routing="needed" if leaves or seq % ROUTE_CHECKPOINT == 0 else "none",
            webhooks="wanted" if webhooks else "none",
            push="wanted" if push else "none",
        )


def message_id(given: str | None, fresh: str, *, pointer: str = "/message_id") -> str:
    """
    The canonical message_id: ``given`` in lower case, or ``fresh``.

    Raises:
        Invalid: ``given`` is no UUID.
    """
    if given is None:
        return fresh
    canonical = given.lower()
    if not _UUID.match(canonical):
        raise Invalid(errors=[{"pointer": pointer, "detail": "use a UUID, such as one of version 4"}])
    return canonical


def message_id_of_event(event_id: str, tenant: str) -> str:
    """The message_id that a CloudEvent's id stands for: itself when it is a UUID, else one derived from it."""
    canonical = event_id.lower()
    return canonical if _UUID.match(canonical) else derived_id("message-of-event", tenant, event_id)


def prefixed(entry: str) -> tuple[str, str] | None:
    """
    Channel and identifier of a recipient such as ``whatsapp:+5511999998888`` (C9); None for a user_id.

    >>> prefixed("whatsapp:+5511999998888"), prefixed("ana")
    (('whatsapp', '+5511999998888'), None)
    """
    match = _PREFIXED.match(entry)
    return (match[1], match[2]) if match else None


def recipients(
    to: Collection[str] | None, known: Collection[str], check_address: Callable[[str, str], str]
) -> tuple[str, ...] | None:
    """
    The recipients as stored: each once, in the order given, addresses in their channel's canonical form.

    Args:
        known: the channels that exist, in-app included.
        check_address: (channel, identifier) to its canonical form; raises Invalid.

    Raises:
        Invalid: none at all, too many, or a prefix that is no channel.
    """
    if to is None:
        return None
    if not 0 < len(to) <= MAX_RECIPIENTS:
        detail = f"name 1 to {MAX_RECIPIENTS} recipients, or leave it out for all other members"
        raise Invalid(errors=[{"pointer": "/to", "detail": detail}])
    canonical: dict[str, None] = {}
    for index, entry in enumerate(to):
        parts = prefixed(entry)
        if parts is None:
            canonical[entry] = None
            continue
        channel, identifier = parts
        if channel not in known or channel == IN_APP:
            raise Invalid(errors=[_unknown_channel(f"/to/{index}", channel, known)])
        try:
            canonical[f"{channel}:{check_address(channel, identifier)}"] = None
        except Invalid as error:
            raise Invalid(errors=[{"pointer": f"/to/{index}", "detail": error.detail}]) from None
    return tuple(canonical)


def channels(asked: Collection[str] | None, known: Collection[str]) -> tuple[str, ...]:
    """
    The channels as stored: in-app when left out, ``("all",)``, or each known one once.

    Raises:
        Invalid: a channel that does not exist, or "all" beside others.
    """
    if asked is None:
        return (IN_APP,)
    if not asked:
        detail = "name at least one channel, or leave it out for in-app"
        raise Invalid(errors=[{"pointer": "/channels", "detail": detail}])
    names = tuple(dict.fromkeys(asked))
    if ALL in names:
        if len(names) > 1:
            raise Invalid(errors=[{"pointer": "/channels", "detail": '"all" stands alone'}])
        return (ALL,)
    errors = [
        _unknown_channel(f"/channels/{index}", name, known) for index, name in enumerate(names) if name not in known
    ]
    if errors:
        raise Invalid(errors=errors)
    return names


def check_payload(payload: Payload) -> None:
    """
    Raises:
        Invalid: an empty or too long text or caption, or media that nothing points to.
    """
    match payload:
        case Text(text=text):
            if not text.strip():
                raise Invalid(errors=[{"pointer": "/payload/text", "detail": "write something"}])
            if len(text) > MAX_TEXT:
                detail = f"{len(text)} characters; at most {MAX_TEXT} fit in one message"
                raise Invalid(errors=[{"pointer": "/payload/text", "detail": detail}])
        case File(caption=str(caption)) if len(caption) > MAX_CAPTION:
            detail = f"{len(caption)} characters; at most {MAX_CAPTION}"
            raise Invalid(errors=[{"pointer": "/payload/caption", "detail": detail}])
        case Media(url=None, provider_media_id=None):
            raise Invalid(errors=[{"pointer": "/payload/url", "detail": "say where the media is"}])
        case _:
            pass


def check_metadata(metadata: dict[str, str]) -> None:
    """
    Raises:
        Invalid: too many entries, or one that is too long.
    """
    if len(metadata) > MAX_METADATA:
        raise Invalid(errors=[{"pointer": "/metadata", "detail": f"at most {MAX_METADATA} entries"}])
    for name, value in metadata.items():
        if len(name) > 128 or len(value) > MAX_METADATA_VALUE:
            detail = f"names have at most 128 characters, values {MAX_METADATA_VALUE}"
            raise Invalid(errors=[{"pointer": f"/metadata/{name[:128]}", "detail": detail}])


def _unknown_channel(pointer: str, name: str, known: Collection[str]) -> FieldError:
    return {
        "pointer": pointer,
        "detail": f"{name[:40]!r} is no channel here; there are {', '.join(sorted(known))}",
    }
