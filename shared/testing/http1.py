"""
A small HTTP/1.1 client for measuring: keep-alive connections, one request at a time on each.

It shares its cores with what it measures, so it is no general client: no redirects, no TLS, no chunked
bodies. A request whose connection broke before the answer was whole has status ``UNKNOWN``: it may have been
served. It is never sent again by this module.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

UNKNOWN = 0
"""The status of a request without an answer."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


@dataclass(frozen=True, slots=True)
class Answer:
    """``head`` is the status line and header fields in lower case."""

    status: int
    head: bytes = b""
    body: bytes = b""

    def json(self) -> Any:
        return orjson.loads(self.body)


Done = Callable[[Answer], None]

_UNANSWERED = Answer(UNKNOWN)


class _Connection(asyncio.Protocol):
    def __init__(self, client: "Client") -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._done: Done | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    @property
    def alive(self) -> bool:
        return self._transport is not None

    def send(self, request: bytes, done: Done) -> None:
        if self._transport is None:  # lost in the moment between connecting and sending
            asyncio.get_running_loop().call_soon(done, _UNANSWERED)
            return
        self._done = done
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        end = buffer.find(_HEAD_END)
        if end < 0:
            return
        head = buffer[:end].lower()
        at = head.find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        whole = end + 4 + length
        if len(buffer) < whole:
            return
        self._buffer = b""
        done, self._done = self._done, None
        if done is None:  # an answer nobody asked for: the server gave up on this connection
            self.close()
            return
        if b"\r\nconnection: close" in head:
            self.close()
        else:
            self._client.free(self)
        done(Answer(int(head[9:12]), head, buffer[end + 4 : whole]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._client.lost(self)
        done, self._done = self._done, None
        if done is not None:
            done(_UNANSWERED)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Client:
    """At most ``connections`` to one address; requests beyond that wait in order for a free one."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", connections: int = 128) -> None:
        self.host, self.port, self.limit = host, port, connections
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._waiting: deque[tuple[bytes, Done]] = deque()
        self._connecting: set[asyncio.Task[None]] = set()

    def send(self, request: bytes, done: Done) -> None:
        """Send a whole request; ``done`` is called once, from the event loop."""
        if self._idle:
            self._idle.pop().send(request, done)
            return
        self._waiting.append((request, done))
        self._connect_one_more()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The same for those who can wait; ``body`` is bytes, or anything that JSON can say."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        content = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)

        def done(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)

        self.send(request(method, path, content, host=f"{self.host}:{self.port}", headers=headers), done)
        return await future

    def free(self, connection: _Connection) -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
        elif connection.alive:
            self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if len(self._waiting) > len(self._connecting):
            self._connect_one_more()

    def _connect_one_more(self) -> None:
        if len(self._open) + len(self._connecting) < self.limit:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def close(self) -> None:
        for task in list(self._connecting):
            task.cancel()
        for connection in list(self._open):
            connection.close()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), self.host, self.port)
        except OSError:
            if self._waiting:
                self._waiting.popleft()[1](_UNANSWERED)
            return
        if connection.alive:
            self._open.add(connection)
        self.free(connection)


def request(
    method: str, path: str, content: bytes = b"", *, host: str, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of one request, JSON unless ``headers`` say otherwise."""
    fields = {"host": host, "content-type": "application/json", "content-length": str(len(content))}
    fields |= {name.lower(): value for name, value in (headers or {}).items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content
