"""
The least that a message server can do, to divide by: HTTP in, on disk, WebSocket out, in one Python process.

``uvicorn shared.testing.bare:make_server --factory``, with the file that it appends to in BARE_FILE. No tokens, no
tables, no history, no resume: whoever connects as a user hears the conversations of that user. ``socket_echo``
answers each text of a WebSocket with the same text.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import orjson

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_LASTING = ("--timeout-keep-alive", "75")
"""As the platform's: after uvicorn's own 5 s a connection is closed under the very request that comes on it."""
_OPTIONS = ("--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio", "--no-access-log", *_LASTING)
SERVER = ("--factory", "shared.testing.bare:make_server", *_OPTIONS)
SOCKET_ECHO = ("shared.testing.bare:socket_echo", *_OPTIONS)


class _Waiting(NamedTuple):
    line: bytes
    room: str
    stored: asyncio.Future[None]


class BareServer:
    """POST /v1/conversations {conversation_id, members}, POST /v1/messages, /ws?user=…, as ASGI."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._members: dict[str, list[str]] = {}
        self._heads: dict[str, int] = defaultdict(int)
        self._sockets: dict[str, set[Send]] = defaultdict(set)
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            status, body = await self._answer(scope, receive)
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/v1/messages":
            return 202, await self._accept(orjson.loads(body))
        if scope["path"] == "/v1/conversations":
            made = orjson.loads(body)
            self._members[made["conversation_id"]] = made["members"]
            return 201, body
        return 200, b"{}"

    async def _accept(self, message: dict[str, Any]) -> bytes:
        room = message["conversation_id"]
        self._heads[room] += 1
        seq = self._heads[room]
        line = orjson.dumps({"type": "message", "seq": seq, **message})
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(line, room, stored))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await stored
        return orjson.dumps({"status": "accepted", "message_id": message["message_id"], "seq": seq})

    async def _write(self) -> None:
        """Whatever came while the disk was busy is its next group."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting, []
            os.write(self._file, b"\n".join([one.line for one in group]) + b"\n")
            await loop.run_in_executor(None, os.fdatasync, self._file)
            for one in group:
                one.stored.set_result(None)
            for one in group:
                frame = {"type": "websocket.send", "text": one.line.decode()}
                for member in self._members[one.room]:
                    for send in self._sockets.get(member, ()):
                        await send(frame)
        self._writing = None

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        user = parse_qs(scope["query_string"].decode())["user"][0]
        self._sockets[user].add(send)
        await send({"type": "websocket.send", "text": '{"type":"ready"}'})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        self._sockets[user].discard(send)


def make_server() -> BareServer:
    return BareServer(Path(os.environ["BARE_FILE"]))  # noqa: TID251  no part of the platform


async def socket_echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})
