"""
A stream of server-sent events (HTML Standard 9.2): a session's frames over plain HTTP.

The id of an event is what its reader then has of each conversation, so that a browser that comes back says by
itself (Last-Event-ID) where to go on.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from functions.realtime.outgoing import Outgoing
from shared.http.live_socket import MOST_BYTES, MOST_FRAMES
from shared.observability import metrics

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_LITTLE = 64 * 1024
_PATIENCE = 5.0
"""Seconds that a reader is given to take what is left when the stream is over."""
_PING = b": ping\n\n"


class Stream:
    """The wire of one stream. ``cursors``: what its reader has already; ``most``: how many an id may have."""

    def __init__(self, send: Any, cursors: Mapping[str, int], most: int) -> None:
        self._send = send
        self._cursors = OrderedDict(list(cursors.items())[-most:])
        self._most = most
        self._chunks: list[bytes] = []
        self._size = 0
        self._filled = asyncio.Event()
        self._little = asyncio.Event()
        self._little.set()
        self._over = asyncio.Event()

    @property
    def _ended(self) -> bool:
        return self._over.is_set()

    def write(self, frame: Outgoing) -> bool:
        if self._ended:
            return False
        chunk = b"data: %b\n\n" % frame.json
        if frame.seq:
            self._cursors[frame.conversation_id] = frame.seq
            self._cursors.move_to_end(frame.conversation_id)
            if len(self._cursors) > self._most:
                self._cursors.popitem(last=False)
            chunk = b"id: %b\n%b" % (urlencode(self._cursors).encode(), chunk)
        if len(self._chunks) >= MOST_FRAMES or self._size + len(chunk) > MOST_BYTES:
            metrics.socket_cut("slow")
            self._chunks.clear()
            self.end(0, "")
            return False
        self._put(chunk)
        return True

    def ping(self, frame: Outgoing) -> bool:
        """A comment: nobody answers it, but a connection that is gone is noticed."""
        if not self._ended:
            self._put(_PING)
        return False

    async def drained(self) -> None:
        await self._little.wait()

    def end(self, code: int, reason: str) -> None:
        self._over.set()
        self._filled.set()
        self._little.set()

    async def serve(self, receive: Any, begin: Coroutine[Any, Any, None]) -> None:
        """Write until the reader goes or ``end`` is called; ``begin`` runs beside it."""
        writing = asyncio.create_task(self._write_all())
        writing.add_done_callback(lambda _: self.end(0, ""))
        tasks = writing, asyncio.create_task(self._watch(receive)), asyncio.create_task(begin)
        try:
            await self._over.wait()
            with suppress(TimeoutError):  # a reader that stalls may never let go of what was sent
                await asyncio.wait_for(writing, _PATIENCE)
        finally:
            self.end(0, "")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write_all(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        self._put(_PING)
        while self._chunks or not self._ended:
            await self._filled.wait()
            body, self._chunks, self._size = b"".join(self._chunks), [], 0
            self._filled.clear()
            if body:
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
            self._little.set()
            if self._ended and not self._chunks:
                break
        await self._send({"type": "http.response.body", "body": b""})

    def _put(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        self._filled.set()
        if self._size > _LITTLE:
            self._little.clear()

    async def _watch(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._chunks.clear()
        self.end(0, "")
