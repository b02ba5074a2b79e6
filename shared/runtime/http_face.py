"""The HTTP face of one function as an ASGI application: functions/<name>/http.py alone, behind the same border."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from shared.domain.errors import Unavailable
from shared.observability.log import log
from shared.ports import Ports
from shared.runtime.functions import folder_of
from shared.runtime.opened import Opened

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI

    from functions.realtime.gateway import Gateway
    from functions.realtime.session import Limits as SocketLimits
    from shared.http.authenticator import Authenticator
    from shared.http.rate_limit import Limits, RateLimiter
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
async def http_face(name: str, function: Any, opened: Opened, cfg: Mapping[str, str]) -> AsyncIterator[Any | None]:
    """
    None when the function has none. FastAPI is imported only for one that has, and where events may have woken the
    function only when it is asked by HTTP: it is half of a cold start (design.md 8).

    Raises:
        SettingsError: one of those that an HTTP face needs cannot be.
    """
    module = f"functions.{folder_of(name)}.http"
    if find_spec(module) is None:
        yield None
        return
    from shared.settings import PREFIX, load_settings

    settings = load_settings(**{one: cfg[PREFIX + one.upper()] for one in _SETTINGS if PREFIX + one.upper() in cfg})
    if name == "realtime":
        async with _with_sockets(module, function, opened, settings) as face:
            yield face
    elif getattr(function, "accepts", ()):
        yield _WhenAsked(lambda: _application(module, function, opened.ports, settings))
    else:
        yield _application(module, function, opened.ports, settings)


def _application(module: str, function: Any, ports: Ports, settings: "Settings") -> App:
    authenticator, limiter = _guards(ports, settings)
    face = import_module(module)
    app = _fastapi([face.router(function)], authenticator, limiter, ports)
    endpoint = getattr(face, "MessagesEndpoint", None)
    return app if endpoint is None else _HotPath(endpoint(function, authenticator, limiter), app)


@asynccontextmanager
async def _with_sockets(module: str, function: Any, opened: Opened, settings: "Settings") -> AsyncIterator[App]:
    """The gateway never sleeps: it says for all what they stand on (E8)."""
    from functions.realtime.gateway import Gateway
    from shared.runtime import health

    ports = opened.ports
    authenticator, limiter = _guards(ports, settings)
    routers = [import_module(module).router(function), health.router(opened.dependencies, detail=False)]
    app = _fastapi(routers, authenticator, limiter, ports)
    gateway = Gateway(function, authenticator, limiter, sockets_of(settings))
    await gateway.start()
    try:
        yield _WithSockets(app, gateway)
    finally:
        await gateway.stop()


def _guards(ports: Ports, settings: "Settings") -> "tuple[Authenticator, RateLimiter]":
    """Who may ask, and how often."""
    from shared.http.authenticator import Authenticator
    from shared.http.rate_limit import RateLimiter

    return Authenticator.of(ports), RateLimiter.of(ports, limits_of(settings))


def _fastapi(
    routers: "Sequence[APIRouter]", authenticator: "Authenticator", limiter: "RateLimiter", ports: Ports
) -> "FastAPI":
    from shared.http.app import build_app
    from shared.repositories.idempotency import IdempotencyKeys

    return build_app(
        routers,
        authenticator=authenticator,
        limiter=limiter,
        idempotency_keys=IdempotencyKeys(ports.tables),
        vault=ports.vault,
        clock=ports.clock,
    )


class _WhenAsked:
    """Built by the first request, in a thread: events go on meanwhile. One that cannot be built is not tried again."""

    def __init__(self, build: Callable[[], App]) -> None:
        self._build = build
        self._building: asyncio.Task[App] | None = None
        self.broken: BaseException | None = None
        """Why it cannot be built: whoever runs it is to be replaced."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._building is None:
            self._building = asyncio.create_task(asyncio.to_thread(self._build), name="building an HTTP face")
            self._building.add_done_callback(self._built)
        if not self._building.done():
            await asyncio.wait((self._building,))  # whoever hangs up does not cut it for the others
        app = self._building.result() if self._building.exception() is None else _broken()
        await app(scope, receive, send)

    def _built(self, building: asyncio.Task[App]) -> None:
        if not building.cancelled() and (error := building.exception()) is not None:
            self.broken = error
            log.critical("the HTTP face cannot be built", exc_info=error)


def _broken() -> App:
    from shared.http.middleware import Border

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        raise Unavailable("this part of the platform could not be started here; try again")

    return Border(refuse)


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
    from functions.realtime.origins import normal
    from functions.realtime.session import Limits

    return Limits(
        origins=frozenset(normal(origin.strip()) for origin in settings.allowed_origins.split(",") if origin.strip()),
        connections=settings.sockets_per_user,
        frames_per_second=settings.socket_frames_per_second,
    )
