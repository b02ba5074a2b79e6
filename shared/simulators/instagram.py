"""
A simulated Instagram Messaging API (channels.md 3.4, 3.7).

    POST /{version}/{account_id}/messages    GET /{version}/{account_id}

Webhooks go to ``Options.callback_url``, signed with ``stage.app_secret``: an echo of what was taken, and "read".
There is no delivered event and no failure afterwards, so 0010 is never read. A tenant enters ``demo_account``:
settings account_id and api (this simulator's base URL), secrets access_token, app_secret, verify_token.
People are digits, as Instagram's scoped ids are; a @name is unknown to it, as it is to the real one.
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

ACCOUNT_ID = "17841400000000000"
SCOPED_ID = re.compile(r"[0-9]{4,32}")
ATTACHMENTS = ("image", "audio", "video", "file")
LONGEST_TEXT = 1000  # bytes of UTF-8


class InstagramSimulator:
    name: ClassVar[str] = "instagram"

    def __init__(self, options: Options) -> None:
        self.stage = Stage(self.name, "instagram", options, self._written)
        self.app = Starlette(
            routes=[
                *self.stage.routes(),
                Route("/{version}/{account}/messages", self._messages, methods=["POST"]),
                Route("/{version}/{account}", self._account, methods=["GET"]),
            ]
        )

    def demo_account(self, base_url: str) -> Account:
        return {
            "account_id": ACCOUNT_ID,
            "settings": {
                "account_id": ACCOUNT_ID,
                "api": base_url.rstrip("/"),
                "uncertain_wait_seconds": self.stage.options.uncertain_wait,
            },
            "secrets": {
                "access_token": self.stage.access_token,
                "app_secret": self.stage.app_secret,
                "verify_token": self.stage.verify_token,
            },
        }

    async def _account(self, request: Request) -> Response:
        refused = graph.refused_caller(self.stage, request, ACCOUNT_ID)
        return refused or JSONResponse({"id": ACCOUNT_ID})

    async def _messages(self, request: Request) -> Response:
        refused = graph.refused_caller(self.stage, request, ACCOUNT_ID)
        if refused:
            return refused
        try:
            body = await body_of(request, dict[str, Any])
            to = object_in(body, "recipient").get("id")
            if "sender_action" in body:
                return JSONResponse({"recipient_id": to})
            message, reply_to = _content(body), object_in(body, "reply_to").get("mid")
        except BadBody as error:
            return graph.error(400, 100, f"Invalid parameter: {error}")
        if not isinstance(to, str) or not SCOPED_ID.fullmatch(to):
            return graph.error(400, 100, "No matching user found", subcode=2018001)
        refusal = await self.stage.refusal(to)
        if refusal:
            return _error_of(refusal)
        return self._taken(to, message, reply_to)

    def _taken(self, to: str, message: dict[str, Any], reply_to: str | None) -> Response:
        mid = f"aWdfZAG1f{secrets.token_urlsafe(24)}"
        self.stage.show(to, mid, text=message.get("text", ""), media=message.get("attachment"), reply_to=reply_to)
        echo: dict[str, Any] = {"mid": mid, "is_echo": True}
        if "text" in message:
            echo["text"] = message["text"]
        else:
            echo["attachments"] = [message["attachment"]]
        for after, status in self.stage.receipts(to):
            if status == "sent":
                self.stage.callbacks.post(self._entry(ACCOUNT_ID, to, {"message": echo}), after)
            if status == "read":
                self.stage.callbacks.post(self._entry(to, ACCOUNT_ID, {"read": {"mid": mid}}), after)
        if self.stage.drops(to):
            return Dropped()
        return JSONResponse({"recipient_id": to, "message_id": mid})

    def _written(self, written: Written) -> Mapping[str, Any]:
        if not SCOPED_ID.fullmatch(written.sender):
            raise BadBody("from is the digits of a scoped id such as 1784140000000001")
        if written.user_id is not None:
            raise BadBody("Instagram has no user_id beside from")
        message: dict[str, Any] = {"mid": f"aWdfZAG1f{secrets.token_urlsafe(24)}"}
        message |= written.message or {"text": written.text}
        if written.reply_to:
            message["reply_to"] = {"mid": written.reply_to}
        return self._entry(written.sender, ACCOUNT_ID, {"message": message})

    def _entry(self, sender: str, recipient: str, event: dict[str, Any]) -> dict[str, Any]:
        at = int(1000 * self.stage.now())
        parties = {"sender": {"id": sender}, "recipient": {"id": recipient}, "timestamp": at}
        return {"id": ACCOUNT_ID, "time": at, "messaging": [{**parties, **event}]}


def _content(body: dict[str, Any]) -> dict[str, Any]:
    message = body.get("message")
    if not isinstance(message, dict):
        raise BadBody("message is required")
    text, attachment = message.get("text"), message.get("attachment")
    if (text is None) == (attachment is None):
        raise BadBody("message holds a text or an attachment, and not both")
    if attachment is not None:
        if not isinstance(attachment, dict) or attachment.get("type") not in ATTACHMENTS:
            raise BadBody(f"attachment.type is one of {', '.join(ATTACHMENTS)}")
        return {"attachment": attachment}
    if not isinstance(text, str) or not 1 <= len(text.encode()) <= LONGEST_TEXT:
        raise BadBody(f"text must have 1 to {LONGEST_TEXT} bytes")
    return {"text": text}


def _error_of(refusal: Refusal) -> Response:
    match refusal.kind:
        case "window_closed":
            return graph.error(400, 10, "This message is sent outside of allowed window", subcode=2018278)
        case "blocked":
            return graph.error(400, 551, "This person isn't available right now", subcode=1545041)
        case "rate":
            return graph.error(429, 613, "Calls to this api have exceeded the rate limit", wait=refusal.wait)
        case "broken":
            return graph.error(500, 2, "Service temporarily unavailable")
        case "down":
            return graph.error(503, 2, "Service temporarily unavailable")
