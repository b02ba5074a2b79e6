"""
Instagram direct messages, by the Messaging API (channels.md 2.1, 3.4).

Two doors with the same bodies: an account of Instagram Login (``api`` graph.instagram.com, the default) and one
linked to a Page (``api`` https://graph.facebook.com and ``page_id``). Instagram returns no correlator and tells
nothing of delivery: a lost answer is found by its echo, and reading implies delivery.
Source: developers.facebook.com/docs/instagram-platform, read as channels.md of November 2026.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar, Literal

import httpx
import msgspec
from pydantic import BaseModel, Field

from events.vocabulary import Media, Payload, Placeholder, Status, Text
from shared.channels import meta
from shared.domain.errors import Invalid, Rejected, Unknown
from shared.ports.channel import (
    Inbound,
    InboundEcho,
    InboundMessage,
    InboundStatus,
    Limits,
    Outgoing,
    Receipt,
    WebhookRequest,
)

MEANINGS: meta.Meanings = {
    **dict.fromkeys((1, 2, 1200), meta.RETRY),
    **dict.fromkeys((4, 32, 613, 80006), meta.RATE),
    **dict.fromkeys(((10, 2018278), (10, 2018065), (10, 2018108)), meta.WINDOW_CLOSED),
    (10, 1893063): meta.POLICY,  # the Page is restricted
    (100, 2018001): meta.BAD_RECIPIENT,
    551: meta.BAD_RECIPIENT,
    100: meta.BAD_CONTENT,
    **dict.fromkeys((10, 190, *range(200, 300)), meta.AUTH_BROKEN),
    368: meta.POLICY,
}

MIB = 1024**2
SCOPED_ID = re.compile(r"[0-9]{1,32}")
USERNAME = re.compile(r"@[a-z0-9._]{1,30}")


class InstagramConfig(meta.MetaConfig):
    account_id: str = Field(
        pattern=r"^[0-9]{1,32}$", description="Id of the Instagram professional account, as webhooks name it"
    )
    page_id: str | None = Field(
        None, pattern=r"^[0-9]{1,32}$", description="The Page it is linked to; not with Instagram Login"
    )
    other_app_secret: meta.Token | None = Field(
        None, description="Instagram apps have two secrets; give the other one when unsure which of them signs"
    )
    api: str = Field(
        "https://graph.instagram.com",
        pattern=r"^https?://[^\s?#]+$",
        json_schema_extra={"hosts": ["graph.facebook.com"]},
    )


class Instagram:
    name: ClassVar[str] = "instagram"
    limits: ClassVar[Limits] = Limits(
        text=1000,
        text_in_bytes=True,
        media={"image": 8 * MIB, "audio": 25 * MIB, "video": 25 * MIB, "document": 25 * MIB},
        content_types={
            "image": frozenset({"image/jpeg", "image/png"}),
            "audio": frozenset({"audio/aac", "audio/mp4", "audio/wav", "audio/x-m4a"}),
            "video": frozenset({"video/mp4", "video/ogg", "video/quicktime", "video/webm", "video/x-msvideo"}),
            "document": frozenset({"application/pdf"}),
        },
        uncertain_wait=timedelta(minutes=3),
        delivered_receipts=False,
    )
    Config: ClassVar[type[BaseModel]] = InstagramConfig
    webhook_secret_field: ClassVar[str] = "app_secret"

    def __init__(self, config: InstagramConfig, http: httpx.AsyncClient) -> None:
        self._config = config
        self._sender = config.page_id or config.account_id
        self.uncertain_wait = config.uncertain_wait(self.limits.uncertain_wait)
        self._graph = meta.Graph(
            http,
            f"{config.api.rstrip('/')}/{config.api_version}",
            config.access_token,
            config.timeout_seconds,
            self.uncertain_wait,
            MEANINGS,
        )

    @staticmethod
    def check_address(identifier: str) -> str:
        """
        The id that Instagram gives a person towards one account (IGSID), or @username in lower case.

        Instagram delivers to ids only. A username is a name to know somebody by until they write.

        Raises:
            Invalid: it is neither.

        >>> Instagram.check_address("@Ana.Silva"), Instagram.check_address("1784140000000001")
        ('@ana.silva', '1784140000000001')
        """
        lowered = identifier.lower()
        if SCOPED_ID.fullmatch(identifier) or USERNAME.fullmatch(lowered):
            return lowered
        raise Invalid("an Instagram identifier is the number that Instagram gives a person, or @username")

    async def connect(self) -> str:
        account = await self._graph.get(self._sender, _Account, fields="id")
        return f"account {account.id}"

    async def send_message(self, outgoing: Outgoing) -> Receipt:
        match outgoing.payload:
            case Text(text=text):
                return await self._send(outgoing, {"text": text})
            case _:
                raise Rejected("bad_content", "send_message takes text")

    async def send_file(self, outgoing: Outgoing) -> Receipt:
        match outgoing.payload:
            case Media() as media:
                return await self._send(outgoing, {"attachment": _attachment(media)})
            case _:
                raise Rejected("bad_content", "send_file takes media by reference")

    async def _send(self, outgoing: Outgoing, message: dict[str, Any]) -> Receipt:
        body: dict[str, Any] = {"recipient": {"id": outgoing.address}, "message": message}
        if outgoing.reply_to:
            body["reply_to"] = {"mid": outgoing.reply_to}
        taken = await self._graph.post(f"{self._sender}/messages", body, _Taken)
        if not taken.message_id:
            raise Unknown("uncertain", "the answer names no message", retry_after=self.uncertain_wait)
        changed = taken.recipient_id and taken.recipient_id != outgoing.address
        return Receipt(taken.message_id, taken.recipient_id if changed else None)

    def on_webhook_event(self, request: WebhookRequest) -> list[Inbound]:
        if request.method == "GET":
            return [meta.challenge(request, self._config.verify_token)]
        body = meta.authenticated(request, self._config.app_secret, self._config.other_app_secret)
        webhook = meta.parsed(body, _Webhook)
        if webhook.object != "instagram":
            raise Invalid(f"this webhook is for Instagram, not for {webhook.object[:64]!r}")
        # "standby" is where events go while another app owns the thread; they are the customer's all the same.
        return [
            inbound
            for entry in webhook.entry
            for event in (*entry.messaging, *entry.standby)
            for inbound in _inbound(entry.id, event)
        ]


MEDIA_OUT = {"image": "image", "audio": "audio", "video": "video", "document": "file"}
MEDIA_IN: dict[str, Literal["image", "audio", "video", "document"]] = {
    "image": "image",
    "audio": "audio",
    "video": "video",
    "file": "document",
}


def _attachment(media: Media) -> dict[str, Any]:
    if media.caption:
        raise Rejected("bad_content", "Instagram shows no caption; send it as a message of its own")
    if media.media_type not in MEDIA_OUT:
        raise Rejected("bad_content", f"Instagram takes no {media.media_type}")
    if media.provider_media_id:
        payload = {"attachment_id": media.provider_media_id}
    elif media.url:
        payload = {"url": media.url}
    else:
        raise Rejected("bad_content", "media needs a url or a provider_media_id")
    return {"type": MEDIA_OUT[media.media_type], "payload": payload}


class _Account(msgspec.Struct):
    id: str = ""


class _Taken(msgspec.Struct):
    message_id: str = ""
    recipient_id: str = ""


class _Party(msgspec.Struct):
    id: str = ""


class _AttachedPayload(msgspec.Struct):
    url: str | None = None


class _Attached(msgspec.Struct):
    type: str = "unknown"
    payload: _AttachedPayload | None = None


class _Reference(msgspec.Struct):
    mid: str | None = None


class _Message(msgspec.Struct):
    mid: str
    text: str | None = None
    attachments: list[_Attached] = []
    is_echo: bool = False
    is_deleted: bool = False
    reply_to: _Reference | None = None


class _Read(msgspec.Struct):
    mid: str


class _Reaction(msgspec.Struct):
    mid: str
    action: str = "react"


class _Postback(msgspec.Struct):
    mid: str
    title: str = ""


class _Event(msgspec.Struct):
    timestamp: int = 0
    sender: _Party = msgspec.field(default_factory=_Party)
    recipient: _Party = msgspec.field(default_factory=_Party)
    message: _Message | None = None
    read: _Read | None = None
    reaction: _Reaction | None = None
    postback: _Postback | None = None


class _Entry(msgspec.Struct):
    id: str
    messaging: list[_Event] = []
    standby: list[_Event] = []


class _Webhook(msgspec.Struct):
    object: str
    entry: list[_Entry] = []


def _inbound(account: str, event: _Event) -> Iterator[Inbound]:
    at = meta.instant(event.timestamp)
    if event.message is not None and event.message.is_echo:
        text = event.message.text or ""
        yield InboundEcho(account, event.recipient.id, event.message.mid, text, at)
    elif event.read is not None:
        yield InboundStatus(account, event.read.mid, Status.READ, at)
    else:
        for name, payload, reply_to in _written(event):
            if not event.sender.id:
                raise Invalid("an event does not say who its sender is")
            yield InboundMessage(account, event.sender.id, name, payload, at, reply_to=reply_to)


def _written(event: _Event) -> Iterator[tuple[str, Payload, str | None]]:
    """
    What a person did, as (id, payload, what it answers).

    Ids are unique per thing done: an unsend and a reaction carry the mid of the message they are about, and a
    message of several attachments is several of ours.
    """
    if event.message is not None:
        message = event.message
        if message.is_deleted:
            yield f"{message.mid}/deleted", Placeholder(kind="deleted"), message.mid
            return
        reply_to = message.reply_to.mid if message.reply_to else None
        for number, payload in enumerate(_payloads(message)):
            yield f"{message.mid}/{number}" if number else message.mid, payload, reply_to
    elif event.postback is not None:
        postback = event.postback
        yield postback.mid, Text(text=postback.title) if postback.title else Placeholder(kind="postback"), None
    elif event.reaction is not None:
        reaction = event.reaction
        kind = "reaction" if reaction.action == "react" else "reaction removed"
        yield f"{reaction.mid}/{reaction.action}/{event.timestamp}", Placeholder(kind=kind), reaction.mid


def _payloads(message: _Message) -> Iterator[Payload]:
    if message.text:
        yield Text(text=message.text)
    for attached in message.attachments:
        url = attached.payload.url if attached.payload else None
        if attached.type in MEDIA_IN and url:
            yield Media(media_type=MEDIA_IN[attached.type], url=url)
        else:
            yield Placeholder(kind=attached.type)
    if not message.text and not message.attachments:
        yield Placeholder(kind="unsupported")
