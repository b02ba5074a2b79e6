"""
A channel to start from: ``scripts/new-channel NAME`` copies this file (docs/guides/new-channel.md).

It speaks to an imaginary provider that takes ``POST {api}/messages {"to", "text", "reference"}``, answers
``{"id"}``, and signs webhooks ``{"events": [...]}`` with HMAC-SHA256 in ``X-Signature``. Say here what the real
one does, with the page that says so.
"""

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import httpx
import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from events.vocabulary import Media, Status, Text
from shared.domain.errors import Busy, Invalid, Rejected, Unauthenticated, Unknown
from shared.ports.channel import (
    Inbound,
    InboundMessage,
    InboundStatus,
    Limits,
    Outgoing,
    Receipt,
    WebhookRequest,
)

REASONS = {401: "auth_broken", 403: "opted_out", 404: "bad_recipient"}
STATUSES = {"delivered": Status.DELIVERED, "read": Status.READ, "failed": Status.FAILED}
ADDRESS = re.compile(r"[0-9]{4,32}")
NEVER_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SkeletonConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    account_id: str = Field(min_length=1, max_length=64)
    token: SecretStr = Field(min_length=1)
    webhook_secret: SecretStr = Field(min_length=1)
    api: str = Field("https://api.provider.example", pattern=r"^https?://[^\s?#]+$")
    timeout_seconds: float = Field(10.0, gt=0, le=12)
    uncertain_wait_seconds: float | None = Field(None, ge=0, le=86_400)


class Skeleton:
    name: ClassVar[str] = "skeleton"
    limits: ClassVar[Limits] = Limits(text=1000, media={"image": 5 * 1024**2}, uncertain_wait=timedelta(minutes=3))
    Config: ClassVar[type[BaseModel]] = SkeletonConfig
    webhook_secret_field: ClassVar[str] = "webhook_secret"

    def __init__(self, config: SkeletonConfig, http: httpx.AsyncClient) -> None:
        self._config = config
        self._http = http
        self.uncertain_wait = self.limits.uncertain_wait
        if config.uncertain_wait_seconds is not None:
            self.uncertain_wait = timedelta(seconds=config.uncertain_wait_seconds)

    @staticmethod
    def check_address(identifier: str) -> str:
        if not ADDRESS.fullmatch(identifier):
            raise Invalid("an identifier here is 4 to 32 digits")
        return identifier

    async def connect(self) -> str:
        account = await self._call("GET", f"accounts/{self._config.account_id}")
        return f"account {account.id}"

    async def send_message(self, outgoing: Outgoing) -> Receipt:
        match outgoing.payload:
            case Text(text=text):
                return await self._send(outgoing, text=text)
            case _:
                raise Rejected("bad_content", "send_message takes text")

    async def send_file(self, outgoing: Outgoing) -> Receipt:
        match outgoing.payload:
            case Media(url=str(url), caption=None):
                return await self._send(outgoing, file=url)
            case _:
                raise Rejected("bad_content", "send_file takes media with a url, and no caption")

    def on_webhook_event(self, request: WebhookRequest) -> list[Inbound]:
        secret = self._config.webhook_secret.get_secret_value().encode()
        expected = hmac.new(secret, request.body, hashlib.sha256).hexdigest()
        given = request.headers.get("x-signature", "").encode(errors="replace")
        if not hmac.compare_digest(given, expected.encode()):
            raise Unauthenticated("X-Signature is missing or does not hold for this body")
        try:
            webhook = msgspec.json.decode(request.body, type=_Webhook)
            return [self._inbound(event) for event in webhook.events]
        except (ValueError, OverflowError, RecursionError):
            raise Invalid("not what this provider sends") from None

    def _inbound(self, event: "_Event") -> Inbound:
        account, at = self._config.account_id, EPOCH + timedelta(seconds=event.at)
        if event.status is not None:
            return InboundStatus(account, event.id, STATUSES[event.status], at, event.reference)
        return InboundMessage(account, event.sender, event.id, Text(text=event.text), at)

    async def _send(self, outgoing: Outgoing, **content: str) -> Receipt:
        body = {"to": outgoing.address, "reference": outgoing.delivery_id, **content}
        return Receipt((await self._call("POST", "messages", json=body)).id)

    async def _call(self, method: str, path: str, **request: Any) -> "_Taken":
        headers = {"Authorization": f"Bearer {self._config.token.get_secret_value()}"}
        timeout = self._config.timeout_seconds
        try:
            answer = await self._http.request(
                method, f"{self._config.api}/{path}", headers=headers, timeout=timeout, **request
            )
        except NEVER_CONNECTED as error:
            raise Busy("retry", type(error).__name__) from None
        except httpx.RequestError as error:
            raise Unknown("uncertain", type(error).__name__, retry_after=self.uncertain_wait) from None
        if answer.status_code == 429:
            raise Busy("rate", "HTTP 429")
        if 400 <= answer.status_code < 500:
            raise Rejected(REASONS.get(answer.status_code, "bad_content"), f"HTTP {answer.status_code}")
        try:
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=_Taken)
        except (httpx.HTTPStatusError, ValueError, RecursionError):
            raise Unknown("uncertain", f"HTTP {answer.status_code}", retry_after=self.uncertain_wait) from None


class _Taken(msgspec.Struct):
    id: str


class _Event(msgspec.Struct):
    id: str
    at: int
    sender: str = ""
    text: str = ""
    status: str | None = None
    reference: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES if self.status is not None else not (self.sender and self.text):
            raise ValueError("neither a message nor a status that we know")


class _Webhook(msgspec.Struct):
    events: list[_Event]
