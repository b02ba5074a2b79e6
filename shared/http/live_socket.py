"""
uvicorn's WebSocket protocol, and a way past ASGI for frames that are encoded once for many sockets (ADR 0023).

An ASGI application finds it in ``scope["extensions"][EXTENSION]``.
"""

import logging
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode

EXTENSION = "chat4all.socket"
MAX_FRAME = 64 * 1024
"""Bytes of a client's frame; a longer one closes the socket with 1009."""
MOST_BYTES = 1024 * 1024
MOST_FRAMES = 1000
"""How far a reader may be behind before it is cut."""
SLOW = 4408
_CLOSE_PATIENCE = 5.0
"""Seconds that a client is given to answer a close frame."""
_LOG = logging.getLogger("chat4all.socket")
_LOG.setLevel(logging.WARNING)


def text_frame(payload: bytes) -> bytes:
    """
    One unmasked text frame (RFC 6455 5.2), as a server sends it.

    >>> text_frame(b"{}")
    b'\\x81\\x02{}'
    """
    return Frame(Opcode.TEXT, payload).serialize(mask=False)


PING = Frame(Opcode.PING, b"").serialize(mask=False)
"""WebSocket's own ping, which libraries and browsers answer by themselves."""


class LiveSocket(WebSocketsSansIOProtocol):
    """``ws=LiveSocket`` in uvicorn's configuration; it takes no part in uvicorn's own keepalive."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = _LOG  # uvicorn's own writes the query, and with it the token, at INFO
        self.ping_interval = None
        self.on_pong: Callable[[], None] | None = None
        self._behind = 0

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    def handle_ping(self) -> None:
        """Bounded as all that is written: who pings and never reads is cut."""
        pongs = b"".join(self.conn.data_to_send())  # of all pings that came at once
        if pongs:
            self.write(pongs)

    def handle_pong(self, event: Frame) -> None:
        if self.on_pong is not None:
            self.on_pong()

    def slim(self) -> None:
        """Forget the handshake but for whose it was: the socket may live for days."""
        del self.request, self.response
        self.scope["headers"] = [one for one in self.scope["headers"] if one[0] == b"x-forwarded-for"]

    def pause_writing(self) -> None:
        super().pause_writing()
        self._behind = 0

    @property
    def closed(self) -> bool:
        return self.close_sent or self.disconnected or self.transport.is_closing()

    def write(self, frame: bytes) -> bool:
        """Write encoded frames; False: the socket is closed, or was cut now because its reader is too slow."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return False
        if not self.writable.is_set():
            self._behind += 1
            size = self.transport.get_write_buffer_size()
            if self._behind > MOST_FRAMES or size + len(frame) > MOST_BYTES:
                self.end(SLOW, "too slow; come back and resume")
                return False
        self.transport.write(frame)
        return True

    def end(self, code: int, reason: str) -> None:
        """Close the socket; whoever does not answer the close frame is cut off."""
        if self.closed:
            return
        try:
            self.conn.send_close(code, reason)
        except InvalidState:
            self.transport.abort()  # at once: connection_lost is what tells the application
            return
        self._await_end(code, reason)

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is None:
            try:
                super().data_received(data)
            except InvalidState:  # text that is no UTF-8, before the socket is accepted
                self.transport.abort()

    def handle_parser_exception(self) -> None:
        """
        End a socket whose client broke the protocol, as by a frame that is too long.

        What the client still sends is read and thrown away: unread it would reset the connection, and take the close
        frame with it before a proxy has passed that on (RFC 9112 9.6).
        """
        told = self.conn.close_sent
        if told is None:
            self.transport.abort()  # not accepted yet, for which a client must wait (RFC 6455 4.1)
            return
        self._await_end(told.code, told.reason)
        self.transport.write_eof()  # its answer to the close frame would not be understood

    def _await_end(self, code: int, reason: str) -> None:
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(_CLOSE_PATIENCE, self.transport.abort)
