"""
An answer that waits for the rest of its request.

The proxies in front of a function on Knative (activator, queue-proxy) are Go's: one that still writes a body when the
answer comes may find the connection closed, and says 502 in the place of a clear 401 or 413.
"""

import asyncio
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from shared.runtime.subscriber import Receive, Scope, Send

MOST = 16 * 1024 * 1024
"""Bytes that are read for nothing: more than any request but a file's may have."""
LONGEST = 5.0
"""Seconds."""


class WholeRequest:
    """``receive`` and ``send`` of one request, for the application behind."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = {name for name, _ in scope.get("headers", ())}
        # Who waits to be told whether to send it at all has not begun, until somebody asks for it.
        expected = named & {b"content-length", b"transfer-encoding"} and b"expect" not in named
        self._receive, self._send, self._more = receive, send, bool(expected)

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._more = bool(message.get("more_body"))
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if self._more and message["type"] == "http.response.start":
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST):
                    await self._read_on()
        await self._send(message)

    async def _read_on(self) -> None:
        seen = 0
        while self._more and seen < MOST:
            seen += len((await self.receive()).get("body", b""))
