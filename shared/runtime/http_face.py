"""The HTTP face of one function as an ASGI application: functions/<name>/http.py alone, behind the same border."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from shared.ports import Ports
from shared.runtime.functions import folder_of

if TYPE_CHECKING:
    from functions.realtime.gateway import Gateway
    from functions.realtime.session import Limits as SocketLimits
    from shared.http.rate_limit import Limits
    from shared.settings import Settings

App = Callable[[Any, Any, Any], Awaitable[None]]

_SETTINGS = (
    "rate_limit_per_minute",
    "message_rate_limit_per_minute",
    "trusted_proxies",
    "allowed_origins",
    "sockets_per_user",
    "socket_frames_per_second",
)
"""Those of all settings that an HTTP face reads."""


@asynccontextmanager
async def http_face(name: str, function: Any, ports: Ports, cfg: Mapping[str, str]) -> AsyncIterator[Any | None]:
    """
    None when the function has none. FastAPI is imported only for one that has (design.md 8).

    Raises:
        SettingsError: one of those that an HTTP face needs cannot be.
    """
    module = f"functions.{folder_of(name)}.http"
    if find_spec(module) is None:
        yield None
        return
    from shared.http.app import build_app
    from shared.http.authenticator import Authenticator
    from shared.http.rate_limit import RateLimiter
    from shared.repositories.idempotency import IdempotencyKeys
    from shared.settings import PREFIX, load_settings

    settings = load_settings(**{one: cfg[PREFIX + one.upper()] for one in _SETTINGS if PREFIX + one.upper() in cfg})
    authenticator = Authenticator.of(ports)
    limiter = RateLimiter.of(ports, limits_of(settings))
    face = import_module(module)
    app = build_app(
        [face.router(function)],
        authenticator=authenticator,
        limiter=limiter,
        idempotency_keys=IdempotencyKeys(ports.tables),
        vault=ports.vault,
        clock=ports.clock,
    )
    if name != "realtime":
        endpoint = getattr(face, "MessagesEndpoint", None)
        yield app if endpoint is None else _HotPath(endpoint(function, authenticator, limiter), app)
        return
    from functions.realtime.gateway import Gateway

    gateway = Gateway(function, authenticator, limiter, sockets_of(settings))
    await gateway.start()
    try:
        yield _WithSockets(app, gateway)
    finally:
        await gateway.stop()


class _HotPath:
    """POST /v1/messages past FastAPI, as where all functions are one process."""

    def __init__(self, messages: App, app: App) -> None:
        self._messages = messages
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        hot = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == "/v1/messages"
        await (self._messages if hot else self._app)(scope, receive, send)


class _WithSockets:
    """The gateway as a process of its own: sockets and streams, and by the application what is asked by HTTP."""

    def __init__(self, app: Any, gateway: "Gateway") -> None:
        self._app, self._gateway = app, gateway

    async def close(self) -> None:
        await self._gateway.stop()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await (self._gateway if self._gateway.serves(scope) else self._app)(scope, receive, send)


def limits_of(settings: "Settings") -> "Limits":
    from shared.http.rate_limit import Limits

    return Limits.of(
        requests_per_minute=settings.rate_limit_per_minute,
        messages_per_minute=settings.message_rate_limit_per_minute,
        trusted_proxies=settings.trusted_proxies,
    )


def sockets_of(settings: "Settings") -> "SocketLimits":
    from functions.realtime.session import Limits

    return Limits(
        origins=frozenset(origin.strip() for origin in settings.allowed_origins.split(",") if origin.strip()),
        connections=settings.sockets_per_user,
        frames_per_second=settings.socket_frames_per_second,
    )
