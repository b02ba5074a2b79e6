"""
An HTTP server that takes webhooks as a careful subscriber does: the signature first, then the content.

Verified by the library of Standard Webhooks, which is not ours: what it accepts, any receiver will.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from shared.cli.platform import Json

_LARGEST = 1024 * 1024
_SECRET_WITHIN = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Received:
    """``refused`` says why it cannot be trusted; ``body`` is then what came, unread."""

    webhook_id: str
    body: Any
    refused: str | None = None

    @property
    def document(self) -> Json:
        return {"webhook_id": self.webhook_id, "verified": self.refused is None, "body": self.body} | (
            {} if self.refused is None else {"why": self.refused}
        )


class WebhookReceiver:
    """
    Listens while it is entered; ``take`` is called for each webhook, in a thread of the server.

    ``secret`` may be set later: until then everything is refused, or waits for it after ``expect_secret``.
    """

    def __init__(self, take: Callable[[Received], None], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._secret: str | None = None
        self._settled = threading.Event()
        self._settled.set()
        receiver, self._take = self, take

        class Handler(_Handler):
            def received(self, headers: Mapping[str, str], body: bytes) -> bool:
                return receiver.judge(headers, body)

        self._server = _Server((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}/" if ":" in str(host) else f"http://{host!s}:{port}/"

    @property
    def secret(self) -> str | None:
        return self._secret

    @secret.setter
    def secret(self, secret: str | None) -> None:
        self._secret = secret
        self._settled.set()

    def expect_secret(self) -> None:
        """The platform may call before its answer with the secret is here."""
        self._settled.clear()

    def __enter__(self) -> "WebhookReceiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def judge(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the webhook is the platform's; it is handed on either way."""
        self._settled.wait(_SECRET_WITHIN)
        received = verified(self.secret, headers, body)
        self._take(received)
        return received.refused is None


def verified(secret: str | None, headers: Mapping[str, str], body: bytes) -> Received:
    """What came, judged by ``secret`` (whsec_…)."""
    from standardwebhooks.webhooks import Webhook, WebhookVerificationError

    names = {name.lower(): value for name, value in headers.items()}
    webhook_id = names.get("webhook-id", "")
    if secret is None:
        return Received(webhook_id, None, "no secret to verify it with")
    try:
        return Received(webhook_id, Webhook(secret).verify(body, names))
    except WebhookVerificationError as error:
        return Received(webhook_id, None, str(error))
    except (ValueError, UnicodeDecodeError) as error:
        return Received(webhook_id, None, f"malformed: {type(error).__name__}")


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "chat4all-listen"
    timeout = 30
    sys_version = ""
    _NO_LENGTH: ClassVar[int] = 411

    def received(self, headers: Mapping[str, str], body: bytes) -> bool:
        raise NotImplementedError

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _LARGEST:
            self.close_connection = True
            self._answer(413 if length.isdigit() else self._NO_LENGTH)
            return
        trusted = self.received(dict(self.headers.items()), self.rfile.read(int(length)))
        self._answer(204 if trusted else 401)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """What came is told by whoever listens."""


def shown_webhook(received: Received) -> str:
    """One line for people."""
    if received.refused is not None:
        return f"refused: {received.refused}"
    body = received.body if isinstance(received.body, dict) else {}
    data = body.get("data")
    facts = data if isinstance(data, dict) else {}
    told = [f"{name}={facts[name]}" for name in ("message_id", "recipient", "channel", "status") if facts.get(name)]
    return "  ".join((str(body.get("type", "?")), *(told or [json.dumps(facts, ensure_ascii=False)[:120]])))
