"""
The HTTP application of all functions that have an HTTP face, in one process.

Each functions/<name>/http.py makes a router over its function; a function and its HTTP face share one object,
so one Timeline serves a conversation's sends in this process.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import APIRouter, FastAPI

from functions.channels import http as channels
from functions.complete_upload import http as complete_upload
from functions.conversations import http as conversations
from functions.dead_letter import http as dead_letter
from functions.events import http as events
from functions.files import http as files
from functions.inbound import http as inbound
from functions.initiate_upload import http as initiate_upload
from functions.messages import http as messages
from functions.presence import http as presence
from functions.rate_limits import http as rate_limits
from functions.realtime import http as realtime
from functions.realtime.gateway import Gateway
from functions.realtime.session import Limits as SocketLimits
from functions.routing_rules import http as routing_rules
from functions.send import http as send
from functions.token import http as token
from functions.users import http as users
from functions.webhooks import http as webhooks
from shared.domain.errors import Unavailable
from shared.http.app import build_app
from shared.http.authenticator import Authenticator
from shared.http.middleware import send_problem
from shared.http.rate_limit import Limits, RateLimiter
from shared.ports import Ports
from shared.repositories.idempotency import IdempotencyKeys
from shared.runtime import functions

ROUTERS: dict[str, Any] = {
    "token": token.router,
    "users": users.router,
    "conversations": conversations.router,
    "send": send.router,
    "messages": messages.router,
    "realtime": realtime.router,
    "presence": presence.router,
    "initiate-upload": initiate_upload.router,
    "complete-upload": complete_upload.router,
    "files": files.router,
    "channels": channels.router,
    "routing-rules": routing_rules.router,
    "webhooks": webhooks.router,
    "rate-limits": rate_limits.router,
    "inbound": inbound.router,
    "events": events.router,
    "dead-letter": dead_letter.router,
}
"""By function, in the order of the pages of /docs."""


class Api:
    """The ASGI application: the hot path first, everything else by FastAPI."""

    def __init__(
        self,
        ports: Ports,
        made: dict[str, Any],
        sync: Callable[[], Awaitable[None]],
        more: Iterable[APIRouter] = (),
        limits: Limits = Limits(),
        sockets: SocketLimits = SocketLimits(),
        objects: Any = None,
    ) -> None:
        """
        Args:
            made: functions by name; those that are missing are made here.
            sync: returns once what was written is on disk.
            more: routers of the runtime's own.
            limits: how often callers may come; without any, as often as they like.
            sockets: the same for sockets, and which pages may open them. Start and stop ``gateway``.
            objects: serves presigned URLs, where this process does.
        """
        self._objects = objects
        self._sync = sync
        for name in ROUTERS:
            made.setdefault(name, functions.new(name, ports))
        self.authenticator = Authenticator.of(ports)
        limiter = RateLimiter.of(ports, limits)
        routers = [router(made[name]) for name, router in ROUTERS.items()]
        self.app: FastAPI = build_app(
            [*routers, *more],
            authenticator=self.authenticator,
            limiter=limiter,
            idempotency_keys=IdempotencyKeys(ports.tables),
            vault=ports.vault,
            clock=ports.clock,
        )
        self._messages = send.MessagesEndpoint(made["send"], self.authenticator, limiter)
        self.gateway = Gateway(made["realtime"], self.authenticator, limiter, sockets)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.gateway.serves(scope):
            await self.gateway(scope, receive, send)
        elif self._objects is not None and scope["type"] == "http" and scope["path"].startswith("/objects/"):
            await self._objects(scope, receive, send)
        elif scope["type"] != "http" or scope["method"] in _READS:
            await self.app(scope, receive, send)
        elif scope["path"] == "/v1/messages" and scope["method"] == "POST":
            await self._messages(scope, receive, send)
        else:
            await self.app(scope, receive, _OnDisk(scope, send, self._sync))


class _OnDisk:
    """
    Answers a write only when it is on disk. The accepting transaction of a message is fsynced by itself; what
    else comes from outside (a user, a rule, a provider's callback) would be lost for good by a power cut.
    """

    def __init__(self, scope: Any, send: Any, sync: Callable[[], Awaitable[None]]) -> None:
        self._scope, self._send, self._sync = scope, send, sync
        self._failed = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] < 300:
            try:
                await self._sync()
            except Unavailable as error:
                self._failed = True
                await send_problem(error, self._scope, self._send)
        if not self._failed:
            await self._send(message)


_READS = frozenset({"GET", "HEAD", "OPTIONS"})
