"""One message on its way to one recipient by one channel, and what was reported about it."""

from collections.abc import Mapping
from typing import ClassVar

from events.envelope import EventData
from events.vocabulary import ChannelName, ConversationId, Instant, MessageId, ReceiptKind, Seq, Status, UserId


class DeliveryRequested(EventData, frozen=True, kw_only=True):
    """
    A mailbox has something to deliver: a wake-up, the truth is in the mailbox (design.md 4).

    The mailbox is (channel, address, conversation_id); ``seq`` and ``message_id`` name the row that caused the
    wake-up, so that the chain of a message can be followed.
    """

    TYPE: ClassVar[str] = "chat4all.delivery.requested.v1"

    conversation_id: ConversationId
    channel: ChannelName
    address: str
    message_id: MessageId
    seq: Seq
    wake: str = ""
    """What tells apart later wake-ups of one row: a due time, an operator's resend."""

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.message_id

    @property
    def part(self) -> str:
        return f"{self.message_id}/{self.channel}/{self.address}/{self.wake}"

    @property
    def attributes(self) -> Mapping[str, str]:
        return {"channel": self.channel}


class StatusReported(EventData, frozen=True, kw_only=True):
    """
    A channel reports about one delivery. Never judged here: statuses add up in ``shared.domain.status``.

    Named by ``delivery_id`` (our correlator), by ``provider_message_id``, or by both; record-status finds the
    delivery. ``source`` is who says so: a function, "provider" or "inferred".
    """

    TYPE: ClassVar[str] = "chat4all.status.reported.v1"

    channel: ChannelName
    status: Status
    at: Instant
    source: str
    conversation_id: str = ""
    message_id: str = ""
    recipient: str = ""
    delivery_id: str = ""
    provider_message_id: str = ""
    account_id: str = ""
    attempt: int = 1
    reason: str | None = None

    @property
    def partition_key(self) -> str:
        return self.conversation_id or self.delivery_id or self.provider_message_id

    @property
    def subject(self) -> str:
        return self.message_id or self.delivery_id or self.provider_message_id

    @property
    def part(self) -> str:
        return "/".join(
            (
                self.delivery_id or self.provider_message_id or self.recipient,
                self.channel,
                str(self.attempt),
                self.status,
            )
        )

    @property
    def attributes(self) -> Mapping[str, str]:
        return {"channel": self.channel}


class EchoReceived(EventData, frozen=True, kw_only=True):
    """
    A provider shows us a message that our own account sent: the only correlator that Instagram has.

    ``text_hash`` is the hex SHA-256 of the text in UTF-8; it is matched with deliveries whose answer was lost.
    """

    TYPE: ClassVar[str] = "chat4all.echo.received.v1"

    channel: ChannelName
    account_id: str
    address: str
    provider_message_id: str
    text_hash: str
    at: Instant

    @property
    def partition_key(self) -> str:
        return f"{self.channel}/{self.address}"

    @property
    def subject(self) -> str:
        return self.provider_message_id

    @property
    def attributes(self) -> Mapping[str, str]:
        return {"channel": self.channel}


class ReceiptReported(EventData, frozen=True, kw_only=True):
    """An in-app client has received or read everything from ``from_seq`` to ``to_seq`` (design.md 4: ranges)."""

    TYPE: ClassVar[str] = "chat4all.receipt.reported.v1"

    conversation_id: ConversationId
    user_id: UserId
    kind: ReceiptKind
    from_seq: Seq
    to_seq: Seq
    at: Instant

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.conversation_id

    @property
    def part(self) -> str:
        return f"{self.user_id}/{self.kind}/{self.to_seq}"
