"""A subscriber's server: takes webhooks, remembers them, and answers what a test wants it to."""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from shared.testing.real_engines import own_address


@dataclass(frozen=True, slots=True)
class Taken:
    """One request, as it came; names of headers are in lower case, ``at`` is time.monotonic()."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def notification_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        kind: str = self.document["type"]
        return kind


@dataclass(frozen=True, slots=True)
class Reply:
    """``hang``: so many seconds pass before it."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: float = 0.0


def fine(_: Taken) -> Reply:
    return Reply()


class Receiver:
    """Listens where the platform can call this machine, on a free port or on ``port``, while it is entered."""

    def __init__(self, answer: Callable[[Taken], Reply] = fine, *, port: int = 0) -> None:
        self.answer = answer
        self.taken: list[Taken] = []
        self.leaving = threading.Event()
        receiver = self

        class Handler(_Handler):
            def reply(self, taken: Taken) -> Reply:
                receiver.taken.append(taken)
                reply = receiver.answer(taken)
                receiver.leaving.wait(reply.hang)
                return reply

        self.host = own_address()
        self._server = _Server((self.host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    def url(self, path: str = "/hooks") -> str:
        return f"http://{self.host}:{self.port}{path}"

    def of(self, kind: str, path: str = "/hooks") -> list[Taken]:
        """What came of one type."""
        return [taken for taken in list(self.taken) if taken.path == path and taken.type == kind]

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leaving.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """As when a process ends: what is open is cut."""
        super().server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who called has gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version: ClassVar[str] = "HTTP/1.1"  # type: ignore[misc]

    def reply(self, taken: Taken) -> Reply:
        raise NotImplementedError

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = int(headers.get("content-length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:  # the caller died while it was sending
            self.close_connection = True
            return
        reply = self.reply(Taken(self.path, headers, body))
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests say themselves what came."""
