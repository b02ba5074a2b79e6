"""The life of one message: asked for, accepted, received, and what its recipients made of it."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from events.envelope import EventData
from events.vocabulary import ChannelName, ConversationId, Instant, MessageId, Payload, Seq, Status, UserId


class MessageSendRequested(EventData, frozen=True, kw_only=True, rename={"sender": "from"}):
    """
    Somebody asks for a message to be sent: the body of POST /v1/messages as a CloudEvent, ``from`` included.

    The event's id is the idempotency key: the message_id when ``message_id`` is left out.
    """

    TYPE: ClassVar[str] = "chat4all.message.send.requested.v1"

    conversation_id: str
    payload: Payload
    sender: str | None = None
    message_id: str | None = None
    to: str | tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    metadata: dict[str, str] = {}
    request_delivery_receipt: bool = False
    request_read_receipt: bool = False
    reply_to: str | None = None
    ttl_seconds: int | None = None

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.message_id or self.conversation_id


class MessageAccepted(EventData, frozen=True, kw_only=True):
    """A message is stored under its number; its id is the first of the chain: the event's id is the message_id."""

    TYPE: ClassVar[str] = "chat4all.message.accepted.v1"

    message_id: MessageId
    conversation_id: ConversationId
    seq: Seq
    sender: UserId
    payload: Payload
    created_at: Instant
    to: tuple[str, ...] | None = None
    channels: tuple[ChannelName, ...] = ()
    metadata: dict[str, str] = {}
    request_delivery_receipt: bool = False
    request_read_receipt: bool = False
    reply_to: str | None = None
    expires_at: Instant | None = None
    origin: ChannelName | None = None
    """The channel that the message came in by; None when a client of ours sent it."""
    routing: Literal["none", "needed"] = "needed"
    """Whether route must plan it: it leaves the app, or it is a checkpoint of route's cursor (ADR 0006)."""
    webhooks: Literal["none", "wanted"] = "none"
    """Whether a webhook of the tenant asks for accepted messages: nobody else pays for looking (ADR 0025)."""
    push: Literal["none", "wanted"] = "wanted"
    """Whether somebody of the tenant may hold a socket: where none is, nobody is woken to push (ADR 0042)."""

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.message_id

    @property
    def attributes(self) -> Mapping[str, str]:
        told = {"routing": self.routing, "push": self.push}
        return told if self.webhooks == "none" else {**told, "webhooks": self.webhooks}


class MessageReceived(EventData, frozen=True, kw_only=True):
    """A customer's message came in by a provider and is stored; for subscribers (api.md, Webhooks)."""

    TYPE: ClassVar[str] = "chat4all.message.received.v1"

    message_id: MessageId
    conversation_id: ConversationId
    seq: Seq
    sender: UserId
    channel: ChannelName
    account_id: str
    received_at: Instant

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.message_id


class _StatusChanged(EventData, frozen=True, kw_only=True):
    message_id: MessageId
    conversation_id: ConversationId
    recipient: str
    channel: ChannelName
    status: Status
    at: Instant
    reason: str | None = None
    webhooks: Literal["none", "wanted"] = "wanted"
    """Whether a webhook of the tenant asks for this news: where none does, nobody is woken to look (ADR 0025)."""
    push: Literal["none", "wanted"] = "wanted"
    """Whether a socket may have to be told (ADR 0042)."""

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.message_id

    @property
    def part(self) -> str:
        return f"{self.message_id}/{self.recipient}/{self.channel}"

    @property
    def attributes(self) -> Mapping[str, str]:
        return {"channel": self.channel, "webhooks": self.webhooks, "push": self.push}


class MessageSent(_StatusChanged, frozen=True, kw_only=True):
    """A channel has taken the message for one recipient."""

    TYPE: ClassVar[str] = "chat4all.message.sent.v1"


class MessageDelivered(_StatusChanged, frozen=True, kw_only=True):
    """The message is on the recipient's device or in their client."""

    TYPE: ClassVar[str] = "chat4all.message.delivered.v1"


class MessageRead(_StatusChanged, frozen=True, kw_only=True):
    """The recipient has seen the message."""

    TYPE: ClassVar[str] = "chat4all.message.read.v1"


class MessageFailed(_StatusChanged, frozen=True, kw_only=True):
    """The message will not reach this recipient on this channel; ``reason`` says why."""

    TYPE: ClassVar[str] = "chat4all.message.failed.v1"
