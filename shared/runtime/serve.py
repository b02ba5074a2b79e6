"""
The server of one function: func-python's contract on uvicorn, uvloop and httptools (docs/adr/0008).

Against stock func-python: a failed start ends the process with code 3, the port is bound once the function can
work, SIGTERM drains, hooks may be async, /metrics is there. The same function runs under either.
"""

import inspect
import socket
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import uvicorn

from shared.observability import metrics
from shared.observability.log import log
from shared.runtime import garbage
from shared.runtime.start_error import NOT_STARTED, StartError
from shared.runtime.subscriber import Receive, Scope, Send

GRACE = 25
"""
Seconds to finish what is under way after SIGTERM, unless CHAT4ALL_SHUTDOWN_GRACE says others. On Knative a pod has its
Service's timeoutSeconds until SIGKILL, 60 unless it needs more, of which the proxy in it takes 30 before we hear of it,
whatever is under way; so a Service with more time says how much of it is ours. A Deployment says its own.
"""
SHUTDOWN_GRACE = "CHAT4ALL_SHUTDOWN_GRACE"
KEEP_ALIVE = 120
"""
Seconds that an idle connection is kept: longer than who calls keeps it, 90 in Knative's proxies. Whoever closes first
does it under a request at times, and a POST is not sent again (seen: 6 of 2,000 answered with 502).
"""
_LIVE_SOCKET = "shared.http.live_socket:LiveSocket"
"""By name: other functions start without importing it."""
_MAX_FRAME = 64 * 1024

Announce = Callable[[str], None]
"""Hears at which URL the function is served, once it can work."""


class Application:
    """ASGI around a function; ``cfg`` is what its ``start`` gets."""

    def __init__(self, function: Any, cfg: Mapping[str, str]) -> None:
        self._function = function
        self._cfg = cfg

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "websocket":
                await self._function.handle(scope, receive, send)
            case "lifespan":
                await self._lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/health/liveness":
                await _tell(send, *await self._ask("alive"))
            case "/health/readiness":
                await _tell(send, *await self._ask("ready"))
            case "/metrics":
                await _answer(send, 200, metrics.CONTENT_TYPE, metrics.expose())
            case _:
                await self._function.handle(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._call("start", self._cfg)
            await self._call("started")
        except Exception:  # noqa: BLE001  the function has said why; the server ends with code 3
            await send({"type": "lifespan.startup.failed"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._call("stop")
        await self._call("close")
        await send({"type": "lifespan.shutdown.complete"})

    async def _ask(self, hook: str) -> tuple[bool, str]:
        answer = await self._call(hook)
        if isinstance(answer, tuple):
            return bool(answer[0]), str(answer[1])
        return answer is None or bool(answer), "OK"

    async def _call(self, hook: str, *arguments: Any) -> Any:
        method = getattr(self._function, hook, None)
        answer = method(*arguments) if method is not None else None
        return await answer if inspect.isawaitable(answer) else answer


async def _tell(send: Send, well: bool, text: str) -> None:
    await _answer(send, 200 if well else 503, "text/plain; charset=utf-8", text.encode())


async def _answer(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    """
    One that can be told to end while its function still waits for a server, and that lets the function end what would
    keep connections open for ever (its hooks ``give_up`` and ``hang_up``, where it has them).
    """

    def __init__(self, config: uvicorn.Config, function: Any, announce: Announce | None) -> None:
        super().__init__(config)
        self._function = function
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        garbage.settle()
        if self._announce is not None:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if give_up := getattr(self._function, "give_up", None):
            give_up()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if hang_up := getattr(self._function, "hang_up", None):
            await hang_up()
        await super().shutdown(sockets)


def serve(
    function: Any, cfg: Mapping[str, str], *, host: str = "0.0.0.0", port: int = 8080, announce: Announce | None = None
) -> None:
    """Until SIGTERM or SIGINT; SystemExit(3) when the function does not start."""
    try:
        made = config(function, cfg, host=host, port=port)
    except StartError as error:
        log.critical("the function could not be started", why=str(error))
        raise SystemExit(error.exit_code) from None
    server = _Server(made, function, announce)
    server.run()
    if not server.started:
        raise SystemExit(NOT_STARTED)


def config(function: Any, cfg: Mapping[str, str], *, host: str, port: int) -> uvicorn.Config:
    """
    Who asks stays who asked: only the setting ``trusted_proxies`` says whose word counts for another address.

    Raises:
        StartError: the grace is none.
    """
    return uvicorn.Config(
        Application(function, cfg),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws=_LIVE_SOCKET if cfg.get("CHAT4ALL_FUNCTION") == "realtime" else "none",
        ws_max_size=_MAX_FRAME,
        ws_per_message_deflate=False,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=_grace(cfg),
    )


def _grace(cfg: Mapping[str, str]) -> int:
    """As the settings read it, too: what ``scripts/deploy`` lets pass is to start."""
    try:
        seconds = int(cfg.get(SHUTDOWN_GRACE, GRACE))
    except ValueError:
        seconds = 0
    if seconds < 1:
        raise StartError(f"{SHUTDOWN_GRACE} is no number of seconds", NOT_STARTED)
    return seconds
