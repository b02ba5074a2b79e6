"""
A channel: how messages reach people at one provider, and what the provider tells us (C4).

A channel is one module, found by the entry point group ``chat4all.channels``; its life is

    1. ``Channel(config, http)``   no side effects; ``config`` was checked by ``Channel.Config``
    2. ``connect()``               asks the provider whether the account works
    3. ``send_message`` / ``send_file``  once per call: retrying is deliver's business
    4. ``on_webhook_event``        verifies, then parses: signature first, always (C7)

It retries nothing, logs nothing, keeps no state. It raises Rejected, Busy or Unknown (shared.domain.errors).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, get_args

from events.vocabulary import Payload, Status

if TYPE_CHECKING:  # a function that delivers nothing must not pay 150 ms for these two
    import httpx
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What a provider takes, as data, so that splitting, links and dry runs are generic (channels.md 2.1).

    ``text`` counts characters, or bytes of UTF-8 when ``text_in_bytes``; ``media`` is bytes by media type.
    ``uncertain_wait`` is how long a lost answer is left to its correlator before the call is made again.
    """

    text: int
    uncertain_wait: timedelta
    text_in_bytes: bool = False
    caption: int = 0
    media: Mapping[str, int] = field(default_factory=dict)
    content_types: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By media type what it may be (RFC 9110 8.3.1), where a provider does not take any; other files are documents."""
    delivered_receipts: bool = True
    read_receipts: bool = True
    correlated: bool = False
    """Every status of what we sent brings our ``delivery_id`` back: one without it is of somebody else's message."""
    without_caption: frozenset[str] = frozenset()
    """Media types whose caption nobody would see; it goes as a text of its own."""

    def caption_of(self, media_type: str) -> int:
        return 0 if media_type in self.without_caption else self.caption


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to one address. ``delivery_id`` is our correlator; ``payload`` is text or media."""

    delivery_id: str
    address: str
    payload: Payload
    reply_to: str | None = None  # provider's id of the message that this one answers


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider took it. ``address`` is its canonical form of the recipient when it differs (wa_id)."""

    provider_message_id: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A provider's call as it came: header names in lower case, the raw body, the query."""

    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """
    A customer wrote. ``address`` names them at the provider, ``account_id`` names us there.

    ``other_addresses`` name the same person too, best first: WhatsApp gives a user id and, often, a phone
    number; whoever is linked to any of them wrote this.
    """

    account_id: str
    address: str
    provider_message_id: str
    payload: Payload
    at: datetime
    display_name: str | None = None
    reply_to: str | None = None
    other_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InboundStatus:
    """The provider reports about something we sent; ``delivery_id`` when our correlator came back."""

    account_id: str
    provider_message_id: str
    status: Status
    at: datetime
    delivery_id: str = ""
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class InboundEcho:
    """The provider shows us a message that our account sent (Instagram: the only correlator)."""

    account_id: str
    address: str
    provider_message_id: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Challenge:
    """The provider verifies the webhook's address; ``answer`` goes back as text/plain."""

    answer: str


Inbound = InboundMessage | InboundStatus | InboundEcho | Challenge


def secret_fields(channel: "type[Channel]") -> frozenset[str]:
    """The fields of the channel's Config that are secrets: what an account keeps under ``secrets``."""
    from pydantic import SecretStr

    def holds(annotation: Any) -> bool:
        return annotation is SecretStr or any(holds(part) for part in get_args(annotation))

    return frozenset(name for name, field in channel.Config.model_fields.items() if holds(field.annotation))


class Channel(Protocol):
    name: ClassVar[str]
    limits: ClassVar[Limits]
    Config: ClassVar["type[BaseModel]"]
    """Settings and secrets of one account; secrets are SecretStr, unknown fields are refused. The field that
    verifies webhooks is named by ``webhook_secret_field``; an account cannot be enabled without it."""
    webhook_secret_field: ClassVar[str]
    uncertain_wait: timedelta
    """How long this account's lost answers are left to their correlator: ``limits.uncertain_wait``, unless the
    account's settings say otherwise (demos and tests are in a hurry)."""

    def __init__(self, config: Any, http: "httpx.AsyncClient") -> None: ...

    @staticmethod
    def check_address(identifier: str) -> str:
        """
        The canonical form of a person's identifier on this channel (E.164 for WhatsApp, an IGSID or @name …).

        Raises:
            Invalid: it is none; the detail says what one looks like.
        """
        ...

    async def connect(self) -> str:
        """
        Ask the provider whether the account works; one line for people.

        Raises:
            ChannelError: it does not, or the provider could not be asked.
        """
        ...

    async def send_message(self, outgoing: Outgoing) -> Receipt:
        """
        Raises:
            Rejected, Busy, Unknown: see shared.domain.errors; exactly one call to the provider was made.
        """
        ...

    async def send_file(self, outgoing: Outgoing) -> Receipt:
        """The same for a payload of media by reference."""
        ...

    def on_webhook_event(self, request: WebhookRequest) -> list[Inbound]:
        """
        What the provider says, after its signature held over the raw body.

        Raises:
            Unauthenticated: no signature, or one that does not hold; nothing was parsed.
            Invalid: signed, but not what this provider sends.
        """
        ...
