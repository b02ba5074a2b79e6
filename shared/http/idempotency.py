"""
``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header) for every POST that has no better means.

A message has its message_id, or the one that its key stands for, and an event its id; those routes are left alone.
A batch is not: its items need none. What the first request answered is kept, sealed, for 24 hours: answers may hold
secrets that are shown once. Answers that are no success are not kept, for nothing was done: the same key may try again.
"""

import hashlib
import logging
import re

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.domain.errors import Chat4AllError, Invalid, Unavailable
from shared.http.caller import Caller
from shared.http.middleware import header, send_problem
from shared.ports import Clock, Vault
from shared.repositories.idempotency import Claim, IdempotencyKeys, Kept

_LOG = logging.getLogger("chat4all.http")
_KEY = re.compile(rb"[\x21-\x7e]{1,255}\Z")
_WITHOUT = re.compile(r"/v1/(messages|events|inbound/.*)\Z")


class Idempotency:
    def __init__(self, app: ASGIApp, *, keys: IdempotencyKeys, vault: Vault, clock: Clock) -> None:
        self._app, self._keys, self._vault, self._clock = app, keys, vault, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or "caller" not in scope.get("state", ()):
            await self._app(scope, receive, send)
            return
        key = header(scope, b"idempotency-key")
        if key is None or _WITHOUT.match(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            await self._once(key, scope, receive, send)
        except Chat4AllError as error:
            await send_problem(error, scope, send)

    async def _once(self, key: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        if not _KEY.match(key):
            raise Invalid("header Idempotency-Key: 1 to 255 visible ASCII characters, such as a UUID")
        caller: Caller = scope["state"]["caller"]
        body = await _whole(receive)
        fingerprint = _fingerprint(caller, scope, body)
        name = key.decode("ascii")
        kept = await self._keys.claim(caller.tenant, name, fingerprint, at=self._clock.now())
        if isinstance(kept, Kept):
            await self._replay(kept, send)
            return
        captured = _Captured()
        try:
            await self._app(scope, _again(body), captured)
        except BaseException:
            await self._keys.release(kept)
            raise
        if 200 <= captured.status < 300:
            await self._keep(kept, captured)
        else:
            await self._keys.release(kept)
        for message in captured.messages:
            await send(message)

    async def _keep(self, claim: Claim, captured: "_Captured") -> None:
        try:
            await self._keys.keep(claim, self._vault.seal(captured.packed()))
        except Unavailable:
            # It was done, so the caller must hear that; only a repeat within the minute is told to wait.
            _LOG.warning("the answer to an Idempotency-Key could not be kept")

    async def _replay(self, kept: Kept, send: Send) -> None:
        status, headers, body = orjson.loads(self._vault.open(kept.answer))
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        pairs.append((b"idempotent-replayed", b"true"))
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body.encode("latin-1")})


class _Captured:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status = 500

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.messages.append(message)

    def packed(self) -> bytes:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.messages[0]["headers"]]
        body = b"".join(message.get("body", b"") for message in self.messages[1:])
        return orjson.dumps([self.status, headers, body.decode("latin-1")])


async def _whole(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _fingerprint(caller: Caller, scope: Scope, body: bytes) -> str:
    """Who asks for what: the key of one caller never shows another one's answer."""
    acting = header(scope, b"x-act-as") or b""
    parts = (caller.client_id.encode(), (caller.user_id or "").encode(), acting, scope["path"].encode())
    digest = hashlib.sha256(b"\n".join((*parts, scope.get("query_string", b""))))
    digest.update(b"\n" + body)
    return digest.hexdigest()
