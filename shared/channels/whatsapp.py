"""
WhatsApp, by the Cloud API (channels.md 2.1, 3.2).

There is no idempotency key: a lost answer is Unknown, and ``biz_opaque_callback_data``, which is our delivery
id, comes back with every status and tells what became of it.
Source: developers.facebook.com/docs/whatsapp/cloud-api, read as channels.md of November 2026.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar

import httpx
import msgspec
from pydantic import BaseModel, Field

from events.vocabulary import Media, Payload, Placeholder, Status, Text
from shared.channels import meta
from shared.domain.errors import Invalid, Rejected, Unknown
from shared.ports.channel import (
    Inbound,
    InboundMessage,
    InboundStatus,
    Limits,
    Outgoing,
    Receipt,
    WebhookRequest,
)

MEANINGS: meta.Meanings = {
    **dict.fromkeys((1, 2, 131000, 131016, 131057, 133004, 135000), meta.RETRY),
    134101: meta.RETRY._replace(wait=timedelta(minutes=10)),
    **dict.fromkeys((4, 80007, 130429, 131048, 131064, 133016), meta.RATE),
    131056: meta.RATE._replace(wait=timedelta(seconds=6)),  # one message in 6 s to the same person
    **dict.fromkeys((131049, 130472), meta.RATE._replace(wait=timedelta(hours=24))),
    131047: meta.WINDOW_CLOSED,
    131050: meta.OPTED_OUT,
    **dict.fromkeys((131026, 131021, 131030, 131062, 137000), meta.BAD_RECIPIENT),
    **dict.fromkeys(
        (33, 100, 131008, 131009, 131051, 131052, 131053, 132000, 132001, 132005, 132007, 132008, 132012),
        meta.BAD_CONTENT,
    ),
    **dict.fromkeys((132068, 132069), meta.BAD_CONTENT),
    **dict.fromkeys((132015, 132016, 131063), meta.POLICY),  # a template that Meta paused or disabled
    **dict.fromkeys((0, 3, 10, 190, *range(200, 300), 131005, 131045, 131037), meta.AUTH_BROKEN),
    **dict.fromkeys((368, 131031, 130497, 131042), meta.POLICY),
}

STATUSES = {
    "sent": Status.SENT,
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "played": Status.READ,
    "failed": Status.FAILED,
}

MIB = 1024**2
USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9]{1,127}")
SECONDS = re.compile(r"[0-9]{1,15}")
PHONE_AS_TYPED = re.compile(r"\+[0-9 ().\-/]{7,31}")


class WhatsAppConfig(meta.MetaConfig):
    phone_number_id: str = Field(pattern=r"^[0-9]{1,32}$", description="Id of the number that sends")
    api: str = Field("https://graph.facebook.com", pattern=r"^https?://[^\s?#]+$")


class WhatsApp:
    name: ClassVar[str] = "whatsapp"
    limits: ClassVar[Limits] = Limits(
        text=4096,
        caption=1024,
        without_caption=frozenset({"audio", "sticker"}),
        correlated=True,
        media={
            "image": 5 * MIB,
            "audio": 16 * MIB,
            "video": 16 * MIB,
            "document": 100 * MIB,
            "sticker": 500 * 1024,
        },
        content_types={
            "image": frozenset({"image/jpeg", "image/png"}),
            "audio": frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"}),
            "video": frozenset({"video/mp4", "video/3gpp"}),
        },
        uncertain_wait=timedelta(minutes=3),
    )
    Config: ClassVar[type[BaseModel]] = WhatsAppConfig
    webhook_secret_field: ClassVar[str] = "app_secret"

    def __init__(self, config: WhatsAppConfig, http: httpx.AsyncClient) -> None:
        self._config = config
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
        E.164 with its plus, or WhatsApp's user id (BSUID) as it is.

        Raises:
            Invalid: it is neither.

        >>> WhatsApp.check_address("+55 (31) 8765-4321")
        '+5531987654321'
        >>> WhatsApp.check_address("BR.1502576394655843")
        'BR.1502576394655843'
        """
        if USER_ID.fullmatch(identifier):
            return identifier
        number = _e164(identifier)
        if number is None:
            raise Invalid("a WhatsApp identifier is a phone number with + and country code: +5511987654321")
        return canonical_phone(number)

    async def connect(self) -> str:
        number = await self._graph.get(
            self._config.phone_number_id, _Number, fields="display_phone_number,verified_name"
        )
        return f"{number.verified_name or 'number'} {number.display_phone_number}".strip()

    async def send_message(self, outgoing: Outgoing) -> Receipt:
        match outgoing.payload:
            case Text(text=text):
                return await self._send(outgoing, "text", {"body": text, "preview_url": False})
            case _:
                raise Rejected("bad_content", "send_message takes text")

    async def send_file(self, outgoing: Outgoing) -> Receipt:
        match outgoing.payload:
            case Media() as media:
                return await self._send(outgoing, media.media_type, _reference(media))
            case _:
                raise Rejected("bad_content", "send_file takes media by reference")

    async def _send(self, outgoing: Outgoing, kind: str, content: dict[str, Any]) -> Receipt:
        body: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            **_recipient(outgoing.address),
            "type": kind,
            kind: content,
            "biz_opaque_callback_data": outgoing.delivery_id,
        }
        if outgoing.reply_to:
            body["context"] = {"message_id": outgoing.reply_to}
        taken = await self._graph.post(f"{self._config.phone_number_id}/messages", body, _Taken)
        if not taken.messages or not taken.messages[0].id:
            raise Unknown("uncertain", "the answer names no message", retry_after=self.uncertain_wait)
        return Receipt(taken.messages[0].id, _canonical_of(taken, outgoing.address))

    def on_webhook_event(self, request: WebhookRequest) -> list[Inbound]:
        if request.method == "GET":
            return [meta.challenge(request, self._config.verify_token)]
        webhook = meta.parsed(meta.authenticated(request, self._config.app_secret), _Webhook)
        if webhook.object != "whatsapp_business_account":
            raise Invalid(f"this webhook is for WhatsApp, not for {webhook.object[:64]!r}")
        # "standby" is where messages go while Meta's own agent answers; they are the customer's all the same.
        return [
            inbound
            for entry in webhook.entry
            for change in entry.changes
            if change.field in ("messages", "standby")
            for inbound in _inbound(meta.parsed(change.value, _Value))
        ]


def canonical_phone(number: str) -> str:
    """
    ``number`` (E.164 with plus) with the ninth digit that every Brazilian mobile has by now.

    WhatsApp keeps accounts' older names: its wa_id of +55 31 98765-4321 is 553187654321 (channels.md 3.2).
    Before the ninth digit mobiles began with 6 to 9; fixed lines begin with 2 to 5 and stay as they are.

    >>> canonical_phone("+553187654321"), canonical_phone("+5531987654321")
    ('+5531987654321', '+5531987654321')
    >>> canonical_phone("+553132654321"), canonical_phone("+493187654321")
    ('+553132654321', '+493187654321')
    """
    if len(number) == 13 and number.startswith("+55") and number[5] in "6789":
        return f"{number[:5]}9{number[5:]}"
    return number


def _e164(typed: str) -> str | None:
    import phonenumbers  # its tables take 30 ms to load, which a function that only sends need not pay

    if not PHONE_AS_TYPED.fullmatch(typed):
        return None
    try:
        number = phonenumbers.parse(typed)
    except phonenumbers.NumberParseException:
        return None
    # Possible, not valid: operators open new ranges faster than tables of them are released.
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _phone_of(wa_id: str) -> str:
    return canonical_phone("+" + wa_id.removeprefix("+"))


def _recipient(address: str) -> dict[str, str]:
    return {"to": address[1:]} if address.startswith("+") else {"recipient": address}


def _reference(media: Media) -> dict[str, str]:
    if media.provider_media_id:
        reference = {"id": media.provider_media_id}
    elif media.url:
        reference = {"link": media.url}
    else:
        raise Rejected("bad_content", "media needs a url or a provider_media_id")
    if media.caption and media.media_type in ("audio", "sticker"):
        raise Rejected("bad_content", f"WhatsApp shows no caption below {media.media_type}")
    if media.caption:
        reference["caption"] = media.caption
    if media.filename and media.media_type == "document":
        reference["filename"] = media.filename
    return reference


class _Number(msgspec.Struct):
    display_phone_number: str = ""
    verified_name: str = ""


class _Id(msgspec.Struct):
    id: str = ""


class _Contacted(msgspec.Struct):
    wa_id: str | None = None


class _Taken(msgspec.Struct):
    messages: list[_Id] = []
    contacts: list[_Contacted] = []


def _canonical_of(taken: _Taken, address: str) -> str | None:
    if not address.startswith("+") or not taken.contacts or not taken.contacts[0].wa_id:
        return None
    canonical = _phone_of(taken.contacts[0].wa_id)
    return canonical if canonical != address else None


class _Change(msgspec.Struct):
    field: str = ""
    value: msgspec.Raw = msgspec.Raw(b"{}")  # of our field only: others have shapes of their own


class _Entry(msgspec.Struct):
    changes: list[_Change] = []


class _Webhook(msgspec.Struct):
    object: str
    entry: list[_Entry] = []


class _Metadata(msgspec.Struct):
    phone_number_id: str = ""


class _Profile(msgspec.Struct):
    name: str | None = None
    username: str | None = None


class _Contact(msgspec.Struct):
    profile: _Profile = msgspec.field(default_factory=_Profile)
    wa_id: str | None = None
    user_id: str | None = None


class _TextBody(msgspec.Struct):
    body: str = ""


class _Attached(msgspec.Struct):
    id: str = ""
    mime_type: str | None = None
    filename: str | None = None
    caption: str | None = None


class _Choice(msgspec.Struct):
    title: str = ""


class _Interactive(msgspec.Struct):
    button_reply: _Choice | None = None
    list_reply: _Choice | None = None


class _Button(msgspec.Struct):
    text: str = ""


class _Reaction(msgspec.Struct):
    message_id: str | None = None


class _Context(msgspec.Struct):
    id: str | None = None


class _Message(msgspec.Struct):
    id: str
    timestamp: str | int
    type: str = "unknown"
    sender: str | None = msgspec.field(default=None, name="from")
    from_user_id: str | None = None
    text: _TextBody | None = None
    image: _Attached | None = None
    audio: _Attached | None = None
    video: _Attached | None = None
    document: _Attached | None = None
    sticker: _Attached | None = None
    interactive: _Interactive | None = None
    button: _Button | None = None
    reaction: _Reaction | None = None
    context: _Context | None = None


class _StatusReport(msgspec.Struct):
    id: str
    status: str
    timestamp: str | int
    biz_opaque_callback_data: str | None = None
    errors: list[meta.GraphError] = []


class _Value(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    contacts: list[_Contact] = []
    messages: list[_Message] = []
    statuses: list[_StatusReport] = []


def _inbound(value: _Value) -> Iterator[Inbound]:
    account = value.metadata.phone_number_id
    names = {
        address: contact.profile.name or contact.profile.username
        for contact in value.contacts
        for address in (contact.user_id, contact.wa_id)
        if address
    }
    for message in value.messages:
        yield _message(account, message, names)
    for report in value.statuses:
        if report.status in STATUSES:
            yield InboundStatus(
                account_id=account,
                provider_message_id=report.id,
                status=STATUSES[report.status],
                at=_at(report.timestamp),
                delivery_id=report.biz_opaque_callback_data or "",
                reason=_reason(report),
            )


def _message(account: str, message: _Message, names: dict[str, str | None]) -> InboundMessage:
    # A user id outlives a phone number and may come without one, so it names the person first.
    addresses = [message.from_user_id] if message.from_user_id else []
    addresses += [_phone_of(message.sender)] if message.sender else []
    if not addresses or not message.id:
        raise Invalid("a message has neither from nor from_user_id, or no id")
    reaction = message.reaction.message_id if message.reaction else None
    return InboundMessage(
        account_id=account,
        address=addresses[0],
        other_addresses=tuple(addresses[1:]),
        provider_message_id=message.id,
        payload=_payload(message),
        at=_at(message.timestamp),
        display_name=names.get(message.from_user_id or "") or names.get(message.sender or ""),
        reply_to=(message.context.id if message.context else None) or reaction,
    )


def _payload(message: _Message) -> Payload:
    attached = _attached(message)
    if attached is not None:
        return attached
    text = ""
    match message.type:
        case "text" if message.text:
            text = message.text.body
        case "button" if message.button:
            text = message.button.text
        case "interactive" if message.interactive:
            choice = message.interactive.button_reply or message.interactive.list_reply
            text = choice.title if choice else ""
    return Text(text=text) if text else Placeholder(kind=message.type)


def _attached(message: _Message) -> Media | None:
    match message.type:
        case "image" | "audio" | "video" | "document" | "sticker" as media_type:
            attached: _Attached | None = getattr(message, media_type)
        case _:
            return None
    if attached is None or not attached.id:
        return None
    return Media(
        media_type=media_type,
        provider_media_id=attached.id,
        mime_type=attached.mime_type,
        filename=attached.filename,
        caption=attached.caption,
    )


def _reason(report: _StatusReport) -> str | None:
    if not report.errors:
        return None
    error = report.errors[0]
    return meta.meaning_of(MEANINGS, error.code, error.error_subcode, 400).reason


def _at(timestamp: str | int) -> datetime:
    if not SECONDS.fullmatch(str(timestamp)):
        raise Invalid("a timestamp is not a number of seconds")
    return meta.instant(1000 * int(timestamp))
