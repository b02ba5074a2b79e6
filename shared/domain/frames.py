"""
What open sockets are told: flat JSON objects, told apart by ``type`` (api.md, Real time; A12).

A message is the same frame whether it is pushed or read again from the timeline. Times are RFC 3339 texts.
"""

from typing import Literal

from msgspec import Struct

from events import MessageAccepted
from events.vocabulary import Payload, PresenceStatus, Status, rfc3339
from shared.domain.message import EXPIRED

ConversationAction = Literal["created", "joined", "added", "left", "removed"]


def conversation_subject(tenant: str, conversation_id: str) -> str:
    """Where frames for everybody in a conversation are published."""
    return f"{tenant}.conversation.{conversation_id}"


def user_subject(tenant: str, user_id: str) -> str:
    """Where frames that concern one user are published, whichever conversations they are in."""
    return f"{tenant}.user.{user_id}"


class MessageFrame(Struct, frozen=True, kw_only=True, tag="message", tag_field="type", rename={"sender": "from"}):
    """The fields of a message in history, but for its status: that is told by receipts."""

    seq: int
    message_id: str
    conversation_id: str
    sender: str
    to: tuple[str, ...] | None
    channels: tuple[str, ...]
    payload: Payload | None
    metadata: dict[str, str]
    reply_to: str | None
    created_at: str
    expires_at: str | None
    origin: str | None


class ReceiptFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="receipt", tag_field="type"):
    """
    How far the messages ``from_seq`` to ``to_seq`` have come for one recipient on one channel.

    In-app clients report ranges; providers single messages, which then are named. ``reason`` is that of FAILED.
    """

    conversation_id: str
    recipient: str
    channel: str
    status: Status
    from_seq: int
    to_seq: int
    at: str
    message_id: str | None = None
    reason: str | None = None


class ConversationFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="conversation", tag_field="type"):
    """A conversation was made, or ``user_id`` came or went; ``by`` says who did it."""

    action: ConversationAction
    conversation_id: str
    at: str
    user_id: str | None = None
    by: str | None = None
    members: tuple[str, ...] | None = None
    conversation_type: Literal["private", "group"] | None = None


class PresenceFrame(Struct, frozen=True, kw_only=True, tag="presence", tag_field="type"):
    """Somebody who shares a conversation came or went (A14)."""

    user_id: str
    status: PresenceStatus
    last_seen: str


class TypingFrame(Struct, frozen=True, kw_only=True, tag="typing", tag_field="type"):
    """``user_id`` is writing; without another such frame it is over at ``until``."""

    conversation_id: str
    user_id: str
    until: str


class FileFrame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="file", tag_field="type"):
    """What the verification of a file found, for its owner; ``reason`` is that of a rejection (B4)."""

    file_id: str
    conversation_id: str
    upload_status: Literal["ready", "rejected"]
    at: str
    reason: str | None = None


class ErasedFrame(Struct, frozen=True, tag="erased", tag_field="type"):
    """The user is no more: for gateways, which end their sockets and show it to nobody."""


Frame = ErasedFrame | FileFrame | MessageFrame | ReceiptFrame | ConversationFrame | PresenceFrame | TypingFrame


def message_frame(message: MessageAccepted) -> MessageFrame:
    """``payload`` is None when its time to live is over."""
    return MessageFrame(
        seq=message.seq,
        message_id=message.message_id,
        conversation_id=message.conversation_id,
        sender=message.sender,
        to=message.to,
        channels=message.channels,
        payload=None if message.payload == EXPIRED else message.payload,
        metadata=message.metadata,
        reply_to=message.reply_to,
        created_at=rfc3339(message.created_at),
        expires_at=None if message.expires_at is None else rfc3339(message.expires_at),
        origin=message.origin,
    )
