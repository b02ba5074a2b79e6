"""
A simulated WhatsApp Cloud API (channels.md 3.2, 3.7).

    POST /{version}/{phone_number_id}/messages    GET /{version}/{phone_number_id}

Webhooks go to ``Options.callback_url``, signed with ``stage.app_secret``. A tenant enters ``demo_account``:
settings phone_number_id and api (this simulator's base URL), secrets access_token, app_secret, verify_token.
As the real one does, it names Brazilian mobiles outside São Paulo, Rio and Espírito Santo without the ninth digit.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.simulators import graph
from shared.simulators.stage import Account, BadBody, Dropped, Options, Refusal, Stage, Written, body_of, object_in

PHONE_NUMBER_ID = "100000000000001"
BUSINESS_ACCOUNT_ID = "200000000000002"
DISPLAY_NUMBER = "551150000000"
PHONE = re.compile(r"\+?[0-9]{7,15}")
USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9]{1,127}")
MEDIA = ("image", "audio", "video", "document", "sticker")
LONGEST_TEXT = 4096


class WhatsAppSimulator:
    name: ClassVar[str] = "whatsapp"

    def __init__(self, options: Options) -> None:
        self.stage = Stage(self.name, "whatsapp_business_account", options, self._written)
        self.app = Starlette(
            routes=[
                *self.stage.routes(),
                Route("/{version}/{account}/messages", self._messages, methods=["POST"]),
                Route("/{version}/{account}", self._number, methods=["GET"]),
            ]
        )

    def demo_account(self, base_url: str) -> Account:
        return {
            "account_id": PHONE_NUMBER_ID,
            "settings": {
                "phone_number_id": PHONE_NUMBER_ID,
                "api": base_url.rstrip("/"),
                "uncertain_wait_seconds": self.stage.options.uncertain_wait,
            },
            "secrets": {
                "access_token": self.stage.access_token,
                "app_secret": self.stage.app_secret,
                "verify_token": self.stage.verify_token,
            },
        }

    async def _number(self, request: Request) -> Response:
        refused = graph.refused_caller(self.stage, request, PHONE_NUMBER_ID)
        return refused or JSONResponse(
            {
                "id": PHONE_NUMBER_ID,
                "display_phone_number": f"+{DISPLAY_NUMBER}",
                "verified_name": "Chat4All simulator",
            }
        )

    async def _messages(self, request: Request) -> Response:
        refused = graph.refused_caller(self.stage, request, PHONE_NUMBER_ID)
        if refused:
            return refused
        try:
            body = await body_of(request, dict[str, Any])
            if body.get("messaging_product") != "whatsapp":
                raise BadBody("messaging_product must be whatsapp")
            if body.get("status") == "read":
                return JSONResponse({"success": True})
            to, shown = _addressee(body), _content(body)
            reply_to = object_in(body, "context").get("message_id")
        except BadBody as error:
            return graph.error(400, 100, "Invalid parameter", details=str(error))
        refusal = await self.stage.refusal(to)
        if refusal:
            return _error_of(refusal)
        return self._taken(to, shown, body.get("biz_opaque_callback_data"), reply_to)

    def _taken(self, to: str, shown: dict[str, Any], correlator: Any, reply_to: Any) -> Response:
        message_id = f"wamid.{secrets.token_urlsafe(24)}"
        contact = {"input": to, "wa_id": wa_id(to)} if to.isdecimal() else {"input": to, "user_id": to}
        self.stage.show(
            f"+{to}" if to.isdecimal() else to,
            message_id,
            delivery_id=str(correlator or ""),
            reply_to=reply_to,
            **shown,
        )
        for after, status in self.stage.receipts(to):
            report: dict[str, Any] = {
                "id": message_id,
                "status": status,
                "timestamp": str(int(self.stage.now() + after)),
                "recipient_id": contact.get("wa_id", to),
                "pricing": {
                    "billable": True,
                    "pricing_model": "PMP",
                    "type": "regular",
                    "category": "service",
                },
            }
            if correlator:
                report["biz_opaque_callback_data"] = correlator
            if status == "failed":
                report["errors"] = [{"code": 131026, "title": "Message undeliverable"}]
            self.stage.callbacks.post(_entry({"statuses": [report]}), after)
        if self.stage.drops(to):
            return Dropped()
        return JSONResponse({"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": message_id}]})

    def _written(self, written: Written) -> Mapping[str, Any]:
        if written.user_id is not None and not USER_ID.fullmatch(written.user_id):
            raise BadBody("user_id looks like BR.1502576394655843")
        if not PHONE.fullmatch(written.sender):
            raise BadBody("from is a phone number such as +5511987650001")
        sender = wa_id(written.sender.removeprefix("+"))
        contact: dict[str, Any] = {"profile": {"name": written.name or f"+{sender}"}, "wa_id": sender}
        message: dict[str, Any] = {
            "from": sender,
            "id": f"wamid.{secrets.token_urlsafe(24)}",
            "timestamp": str(int(self.stage.now())),
            "type": "text",
            **({"text": {"body": written.text}} if not written.message else written.message),
        }
        if written.user_id:
            contact["user_id"] = message["from_user_id"] = written.user_id
        if written.reply_to:
            message["context"] = {"from": DISPLAY_NUMBER, "id": written.reply_to}
        return _entry({"contacts": [contact], "messages": [message]})


def wa_id(number: str) -> str:
    """
    WhatsApp's name of a phone number (digits only).

    >>> wa_id("5531987654321"), wa_id("5511987654321")
    ('553187654321', '5511987654321')
    """
    old_name = len(number) == 13 and number.startswith("55") and number[4] == "9" and number[2:4] >= "31"
    return number[:4] + number[5:] if old_name else number


def _entry(value: dict[str, Any]) -> dict[str, Any]:
    metadata = {"display_phone_number": DISPLAY_NUMBER, "phone_number_id": PHONE_NUMBER_ID}
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    return {"id": BUSINESS_ACCOUNT_ID, "changes": [change]}


def _addressee(body: dict[str, Any]) -> str:
    to = body.get("to")
    if isinstance(to, str) and PHONE.fullmatch(to):
        return to.removeprefix("+")
    recipient = body.get("recipient")
    if to is None and isinstance(recipient, str) and USER_ID.fullmatch(recipient):
        return recipient
    raise BadBody("to must be a phone number, or recipient a user id")


def _content(body: dict[str, Any]) -> dict[str, Any]:
    kind = body.get("type", "text")
    content = body.get(kind) if isinstance(kind, str) else None
    if not isinstance(content, dict):
        raise BadBody(f"{kind} is missing")
    if kind == "text":
        text = content.get("body")
        if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_TEXT:
            raise BadBody(f"text.body must have 1 to {LONGEST_TEXT} characters")
        return {"text": text}
    if kind in MEDIA and not ({"id", "link"} & content.keys()):
        raise BadBody(f"{kind} needs an id or a link")
    return {"text": str(content.get("caption", "")), "media": {"type": kind, **content}}


def _error_of(refusal: Refusal) -> Response:
    match refusal.kind:
        case "window_closed":
            return graph.error(400, 131047, "Re-engagement message", details="More than 24 hours have passed")
        case "blocked":
            return graph.error(400, 131026, "Message undeliverable", details="The recipient cannot be reached")
        case "rate":
            return graph.error(429, 130429, "Rate limit hit", wait=refusal.wait)
        case "broken":
            return graph.error(500, 131000, "Something went wrong")
        case "down":
            return graph.error(503, 131016, "Service unavailable")
