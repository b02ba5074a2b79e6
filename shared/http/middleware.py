"""
What happens to every request before a route sees it, as pure ASGI, outermost first:

    Border          trace, size limit, and the last resort: no exception leaves as anything but a problem
    Authentication  /v1 is closed: whoever has no valid token gets no further, not even with a body
    RateLimits      whoever comes too often is told when to come back (``shared.http.rate_limit``)
    Idempotency     the same Idempotency-Key twice is one request (``shared.http.idempotency``)
"""

import logging
import re
from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.domain.errors import Chat4AllError, TooLarge, Unauthenticated
from shared.domain.file import MAX_SIZE
from shared.http.authenticator import Authenticator
from shared.http.problems import problem_response
from shared.http.rate_limit import UNAUTHENTICATED, RateLimiter, route_class
from shared.observability import spans
from shared.repositories.identity_schema import PLATFORM

MAX_BODY = 10 * 1024 * 1024
_LOG = logging.getLogger("chat4all.http")

OPEN_UNDER_V1 = ("/v1/inbound/",)
"""Paths whose callers prove themselves otherwise: providers sign their webhooks."""

_CHUNK = re.compile(r"/v1/files/[^/]+/chunk\Z")
"""The one body that may be as large as a file: it is never held as a whole."""

_TRACED = ("/v1/", "/auth/")
"""Elsewhere are probes, pages and simulated providers: contexts, and no spans."""


def header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


async def send_problem(error: Exception, scope: Scope, send: Send) -> None:
    status, headers, body = problem_response(error, instance=scope["path"], trace_id=scope["state"]["trace_id"])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Border:
    """
    Puts ``traceparent`` and ``trace_id`` into ``scope["state"]`` and answers with the traceparent.

    A body larger than ``max_body`` bytes is 413 whether its length was announced or not.
    """

    def __init__(self, app: ASGIApp, *, max_body: int = MAX_BODY) -> None:
        self._app, self._max_body = app, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = header(scope, b"traceparent")
        traceparent = given.decode("latin-1") if given else None
        traced = scope["path"].startswith(_TRACED)
        with spans.request(scope["method"], traceparent) if traced else spans.unrecorded(traceparent) as trace:
            scope.setdefault("state", {}).update(traceparent=str(trace), trace_id=trace.trace_id)
            await self._guarded(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = MAX_SIZE if _CHUNK.match(scope["path"]) and scope["method"] == "PATCH" else self._max_body
        body = _LimitedBody(receive, limit)
        response = _Response(scope, send, body)
        try:
            length = header(scope, b"content-length")
            if length is not None and length.isdigit() and int(length) > limit:
                raise body.too_large()
            await self._app(scope, body, response)
        except ClientDisconnect:
            return  # the caller hung up in the middle of the body: half a request is none, and nobody hears an answer
        except Exception as error:
            if response.started:
                raise
            if body.exceeded is None and not isinstance(error, Chat4AllError | HTTPException):
                _LOG.exception("%s %s failed", scope["method"], scope["path"])
            await send_problem(body.exceeded or error, scope, response.anyway)
        else:
            if body.exceeded is not None and not response.started:
                await send_problem(body.exceeded, scope, response.anyway)


class _LimitedBody:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._seen = receive, limit, 0
        self.exceeded: TooLarge | None = None

    def too_large(self) -> TooLarge:
        return TooLarge(f"a request body may have {self._limit:,} bytes; files go by POST /v1/files/initiate")

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                self.exceeded = self.too_large()
                raise self.exceeded
        return message


class _Response:
    """What the app says about a body that was too large is not sent: it only knows that reading failed."""

    def __init__(self, scope: Scope, send: Send, body: _LimitedBody) -> None:
        self._scope, self._send, self._body = scope, send, body
        self.started = False

    async def __call__(self, message: Message) -> None:
        if self._body.exceeded is None or self.started:
            await self.anyway(message)

    async def anyway(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            traceparent = self._scope["state"]["traceparent"].encode("ascii")
            message["headers"] = [*message.get("headers", ()), (b"traceparent", traceparent)]
            route = getattr(self._scope.get("route"), "path", None)
            spans.answered(self._scope["method"], route, message["status"])
        await self._send(message)


class Authentication:
    """Puts the ``Caller`` into ``scope["state"]["caller"]`` for every path under /v1."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, limiter: RateLimiter) -> None:
        self._app, self._authenticator, self._limiter = app, authenticator, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_closed(scope["path"]):
            authorization = header(scope, b"authorization")
            authenticator = self._authenticator
            try:
                caller = authenticator.known(authorization) or await authenticator.authenticate(authorization)
            except Unauthenticated as error:
                answered, headers = await self._limiter.turn_away(error, scope)
                await send_problem(answered, scope, with_headers(headers, send))
                return
            except Chat4AllError as error:
                await send_problem(error, scope, send)
                return
            scope["state"]["caller"] = caller
        await self._app(scope, receive, send)


class RateLimits:
    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app, self._limiter = app, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        policy = route_class(scope["path"]) if scope["type"] == "http" else None
        if policy is None:
            await self._app(scope, receive, send)
            return
        tenant, named = _tenant(scope)
        if named and not await self._limiter.knows(tenant):
            tenant, policy = PLATFORM, UNAUTHENTICATED  # else whoever makes names up has a fresh count with each
        judged = await self._limiter.judge(tenant, policy, scope)
        answer = with_headers(judged.headers, send) if judged.headers else send
        if judged.refused is not None:
            await send_problem(judged.refused, scope, answer)
        else:
            await self._app(scope, receive, answer)


def _tenant(scope: Scope) -> tuple[str, bool]:
    """
    The caller's; of a provider's webhook the one that its path names: the address is in the key beside it. And whether
    it is only named.
    """
    caller = scope["state"].get("caller")
    if caller is not None:
        return caller.tenant, False
    if scope["path"].startswith(OPEN_UNDER_V1):
        return str(scope["path"].split("/", 4)[3])[:64], True
    return PLATFORM, False


def with_headers(headers: Sequence[tuple[bytes, bytes]], send: Send) -> Send:
    """``send`` for an answer that has these headers too."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return answer


def is_closed(path: str) -> bool:
    """
    >>> is_closed("/v1/users"), is_closed("/v1/inbound/acme/whatsapp"), is_closed("/health")
    (True, False, False)
    """
    return path.startswith("/v1/") and not path.startswith(OPEN_UNDER_V1)
