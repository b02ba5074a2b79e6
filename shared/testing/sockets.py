"""
A small WebSocket client for measuring (RFC 6455): thousands of sockets on one event loop, frames handed on as bytes.

It shares its cores with what it measures, so it is no general client: no extensions, no TLS, no fragments, and a mask
of zeros, which the protocol allows and costs nothing.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import cast

_KEY = base64.b64encode(bytes(16)).decode()
_ACCEPT = base64.b64encode(hashlib.sha1(f"{_KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_FINAL, _MASKED = 0x80, 0x80
_NO_MASK = bytes(4)

Heard = Callable[[bytes], None]
Lost = Callable[[int], None]


class NotOpened(Exception):
    """The server did not agree to a WebSocket; the text is its answer."""


class Socket(asyncio.Protocol):
    """
    One connection; ``open`` it. ``heard`` gets each text, ``lost`` the code of the close (1006: none), once.
    """

    def __init__(self, heard: Heard, lost: Lost) -> None:
        self._heard, self._lost = heard, lost
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._code = 1006
        self.bytes_in = 0

    @classmethod
    async def open(
        cls,
        port: int,
        path: str,
        *,
        heard: Heard,
        lost: Lost = lambda code: None,
        headers: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> "Socket":
        """
        Raises:
            NotOpened: it was refused, or the connection broke before.
            OSError: nobody listens.
        """
        _, socket = await asyncio.get_running_loop().create_connection(lambda: cls(heard, lost), host, port)
        fields = {
            "host": f"{host}:{port}",
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-key": _KEY,
            "sec-websocket-version": "13",
            **(headers or {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        socket._write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        await socket._opened
        return socket

    def send(self, text: bytes) -> None:
        """A text frame; nothing when the connection is gone."""
        self._write(_frame(_TEXT, text))

    def close(self) -> None:
        """Say goodbye; the server answers, and the connection ends."""
        self._write(_frame(_CLOSE, (1000).to_bytes(2, "big")))

    def abort(self) -> None:
        """Be gone, as after a power cut."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self.bytes_in += len(data)
        if self._rest:
            data = self._rest + data
        if not self._opened.done():
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            head, data = data[:end], data[end + 4 :]
            if not head.startswith(b"HTTP/1.1 101") or _ACCEPT not in head:
                self._opened.set_exception(NotOpened((head + b"\r\n" + data)[:500].decode("latin-1")))
                self.abort()
                return
            self._opened.set_result(None)
        self._rest = self._frames(data)

    def _frames(self, data: bytes) -> bytes:
        """Hand on what is whole; what is not is returned."""
        at, length = 0, len(data)
        while length - at >= 2:
            size, begin = data[at + 1], at + 2
            if size == 126:
                begin = at + 4
                size = int.from_bytes(data[at + 2 : begin], "big")
            elif size == 127:
                begin = at + 10
                size = int.from_bytes(data[at + 2 : begin], "big")
            end = begin + size
            if end > length:
                break
            kind = data[at]
            if kind == _FINAL | _TEXT:
                self._heard(data[begin:end])
            else:
                self._control(kind, data[begin:end])
            at = end
        return data[at:]

    def _control(self, kind: int, content: bytes) -> None:
        if kind == _FINAL | _PING:
            self._write(_frame(_PONG, content))
        elif kind == _FINAL | _CLOSE:
            self._code = int.from_bytes(content[:2], "big") if content else 1005
            self._write(_frame(_CLOSE, content[:2]))
        elif kind != _FINAL | _PONG:
            raise NotImplementedError(f"a frame that begins with {kind:#x}")

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._opened.done():
            self._opened.set_exception(NotOpened("the connection broke"))
        else:
            self._lost(self._code)


def _frame(kind: int, content: bytes) -> bytes:
    size = len(content)
    if size < 126:
        head = bytes((_FINAL | kind, _MASKED | size))
    elif size < 65_536:
        head = bytes((_FINAL | kind, _MASKED | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | kind, _MASKED | 127)) + size.to_bytes(8, "big")
    return head + _NO_MASK + content
