"""
GET /ws and GET /v1/stream as bare ASGI (api.md, Real time; reliability.md 5.5).

A WebSocket whose token is no good is accepted and closed then, because a browser is shown close codes and no statuses.
Refused at the handshake is a page of a foreign origin, and who comes too often. A stream is judged before it begins, as
any other request.
"""

import asyncio
from collections.abc import Mapping, MutableMapping
from contextlib import ExitStack
from time import monotonic_ns
from typing import Any
from urllib.parse import parse_qsl

from events.vocabulary import ReceiptKind, rfc3339
from functions.realtime import incoming
from functions.realtime.func import Realtime
from functions.realtime.gate import FIRST_FRAME, Gate, Scope
from functions.realtime.hub import Hub
from functions.realtime.outgoing import Outgoing, said
from functions.realtime.session import (
    FORBIDDEN,
    MALFORMED,
    TOO_MANY,
    TRY_AGAIN,
    UNAUTHENTICATED,
    Limits,
    Session,
)
from functions.realtime.stream import Stream
from shared.domain.errors import (
    Chat4AllError,
    Forbidden,
    Invalid,
    NotFound,
    RateLimited,
    Refused,
    Unauthenticated,
    Unavailable,
)
from shared.domain.rate_limit import admit
from shared.http.authenticator import Authenticator
from shared.http.live_socket import EXTENSION, PING, SLOW, LiveSocket
from shared.http.middleware import header, send_problem, with_headers
from shared.http.rate_limit import RateLimiter
from shared.http.tickets import Admission
from shared.observability import metrics, spans
from shared.observability.log import log

SOCKET, STREAM = "/ws", "/v1/stream"
_AS_SOCKET = "open this as a WebSocket; docs/guides/realtime.md has a client and all frames"
MOST_CURSORS = 50
"""Conversations in the id of a stream's event; of those beyond, a client that comes back gets what it has again."""


class SocketWire:
    __slots__ = ("_socket",)

    def __init__(self, socket: LiveSocket) -> None:
        self._socket = socket

    def write(self, frame: Outgoing) -> bool:
        return self._socket.write(frame.text_frame)

    def ping(self, frame: Outgoing) -> bool:
        """Ours for code in a page, WebSocket's own for libraries: an answer to either will do."""
        return self._socket.write(frame.text_frame + PING)

    async def drained(self) -> None:
        await self._socket.writable.wait()

    def end(self, code: int, reason: str) -> None:
        self._socket.end(code, reason)


class Gateway:
    def __init__(self, realtime: Realtime, authenticator: Authenticator, limiter: RateLimiter, limits: Limits) -> None:
        self._realtime, self._limits = realtime, limits
        self._gate = Gate(realtime, authenticator, limiter, limits)
        self.hub = Hub(realtime, limits)

    def serves(self, scope: Scope) -> bool:
        kind: str = scope["type"]
        return kind == "websocket" or (kind == "http" and scope["path"] in (STREAM, SOCKET))

    async def start(self) -> None:
        await self.hub.start()

    async def stop(self) -> None:
        await self.hub.stop()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._stream(scope, receive, send)

    # WebSocket ------------------------------------------------------------------------------------------------

    async def _socket(self, scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        scope.setdefault("state", {})["trace_id"] = ""
        session = await self._opened(scope, receive, send)
        if session is None:
            return
        socket: LiveSocket = scope["extensions"][EXTENSION]
        socket.slim()
        socket.on_pong = lambda: self.hub.sign_of_life(session)
        with metrics.sockets_open.labels("websocket").track_inprogress():
            try:
                await self._converse(session, scope, receive)
            finally:
                socket.on_pong = None
                await self.hub.close(session)

    async def _opened(self, scope: Scope, receive: Any, send: Any) -> Session | None:
        """None: it was refused, or closed again."""
        admission: Admission | None = None
        unwelcome: Chat4AllError | None = None
        with ExitStack() as until_proven:
            try:
                if scope["path"] != SOCKET:
                    raise NotFound("WebSockets are at /ws")
                await self._gate.check_origin(scope)
                try:
                    admission = await self._gate.admission(scope)
                except RateLimited:
                    raise
                except Chat4AllError as error:
                    unwelcome = error
                if admission is None and unwelcome is None:
                    until_proven.enter_context(self._gate.unproven(scope))
                    await self._gate.count_unproven(scope)
            except Chat4AllError as error:
                await _refuse(error, scope, send)
                return None
            socket: LiveSocket = scope["extensions"][EXTENSION]
            await send({"type": "websocket.accept"})
            try:
                if unwelcome is not None:
                    raise unwelcome
                return await self.hub.open(admission or await self._introduced(scope, receive), SocketWire(socket))
            except _Gone:
                return None
            except Chat4AllError as error:
                socket.write(_error(error).text_frame)
                socket.end(_close_code(error), error.detail[:120])
                return None

    async def _introduced(self, scope: Scope, receive: Any) -> Admission:
        """By the first frame."""
        try:
            async with asyncio.timeout(FIRST_FRAME):
                frame = _text(await receive())
        except TimeoutError:
            late = Unauthenticated(f"send an auth frame within {FIRST_FRAME:.0f} s")
            raise await self._gate.turned_away(late, scope) from None
        return await self._gate.introduced(frame, scope)

    async def _converse(self, session: Session, scope: Scope, receive: Any) -> None:
        try:
            await self.hub.resume(session)
            while True:
                frame = _text(await receive())
                self.hub.sign_of_life(session)
                await self._paced(session)
                try:
                    await self._said(session, scope, incoming.read(frame))
                except Unavailable:
                    raise
                except Chat4AllError as error:
                    session.write(_error(error))
        except _Gone as gone:
            if gone.code == SLOW:
                metrics.socket_cut("slow")
        except Chat4AllError as error:
            session.end(_close_code(error), error.detail[:120])
        except Exception as error:  # noqa: BLE001  the border: a bug ends this socket, and no other
            log.error("a socket failed", function="realtime", tenant=session.person.tenant, exc_info=error)
            session.end(TRY_AGAIN, "something broke on our side; connect again")

    async def _paced(self, session: Session) -> None:
        """Who sends too fast waits, and so does whatever they send next: the socket is not read meanwhile."""
        while True:
            session.even, standing = admit(session.even, monotonic_ns() // 1000, self._limits.quota)
            if standing.admitted:
                return
            await asyncio.sleep(standing.wait)

    async def _said(self, session: Session, scope: Scope, frame: incoming.Incoming) -> None:
        match frame:
            case incoming.Pong():
                pass
            case incoming.Ack():
                self.hub.acknowledge(session, frame.conversation_id, ReceiptKind.DELIVERED, frame.seq)
            case incoming.Read():
                self.hub.acknowledge(session, frame.conversation_id, ReceiptKind.READ, frame.seq)
            case incoming.Typing():
                person = session.person
                await self._realtime.typing.typed(person.tenant, frame.conversation_id, person.user_id)
            case incoming.Sync():
                await self.hub.resume(session, frame.cursors, epoch=frame.epoch, offset=frame.offset)
            case incoming.Auth():
                await self._renew(session, scope, frame)

    async def _renew(self, session: Session, scope: Scope, frame: incoming.Auth) -> None:
        """
        Raises:
            Unauthenticated, Forbidden, RateLimited: the token is none, or somebody else's, or one of too many; the
                socket goes on by the old one.
        """
        person = session.person
        admission = await self._gate.by_token(frame.token, frame.act_as or person.user_id, scope)
        if (admission.tenant, admission.user_id) != (person.tenant, person.user_id):
            raise Forbidden("this token is somebody else's")
        session.admission, session.warned = admission, False
        session.write(said("auth.renewed", expires_at=rfc3339(admission.caller.expires_at)))

    # Server-sent events ---------------------------------------------------------------------------------------

    async def _stream(self, scope: Scope, receive: Any, send: Any) -> None:
        given = header(scope, b"traceparent")
        trace = spans.unrecorded(given.decode("latin-1") if given else None)
        with trace as span:
            scope.setdefault("state", {}).update(traceparent=str(span), trace_id=span.trace_id)
            if scope["path"] == SOCKET:
                told = [(b"traceparent", str(span).encode()), (b"upgrade", b"websocket"), (b"connection", b"upgrade")]
                await send_problem(_UpgradeRequired(_AS_SOCKET), scope, with_headers(told, send))
                return
            if scope["method"] != "GET":
                refusal = _MethodNotAllowed("a stream is read by GET")
                await send_problem(refusal, scope, with_headers([(b"allow", b"GET")], send))
                return
            try:
                await self._gate.check_origin(scope)
                admission = await self._gate.admission(scope)
                if admission is None:
                    nobody = Unauthenticated("send Authorization: Bearer <access token>, or ?ticket= from a page")
                    raise await self._gate.turned_away(nobody, scope)
                cursors = _cursors(header(scope, b"last-event-id"))
                stream = Stream(_limits_told(scope, send), cursors, MOST_CURSORS)
                session = await self.hub.open(admission, stream)
            except Chat4AllError as error:
                await send_problem(error, scope, _limits_told(scope, send))
                return
        with metrics.sockets_open.labels("stream").track_inprogress():
            try:
                await stream.serve(receive, self._begin(session, cursors))
            finally:
                await self.hub.close(session)

    async def _begin(self, session: Session, cursors: Mapping[str, int]) -> None:
        try:
            await self.hub.resume(session, cursors)
        except Chat4AllError as error:
            session.end(_close_code(error), error.detail)


class _Gone(Exception):
    """The client is, or was made to be."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _MethodNotAllowed(Invalid):
    code, title, status = "method-not-allowed", "This method is not allowed here", 405


class _UpgradeRequired(Refused):
    code, title, status = "upgrade-required", "Open this as a WebSocket", 426


def _text(message: Mapping[str, Any]) -> str | bytes:
    if message["type"] == "websocket.disconnect":
        raise _Gone(message.get("code", 1005))
    text: str | bytes | None = message.get("text")
    return message["bytes"] if text is None else text


def _error(error: Chat4AllError) -> Outgoing:
    return said("error", code=error.code, detail=error.detail)


def _close_code(error: Chat4AllError) -> int:
    match error:
        case Unauthenticated():
            return UNAUTHENTICATED
        case Forbidden() | NotFound():
            return FORBIDDEN
        case RateLimited():
            return TOO_MANY
        case Unavailable():
            return TRY_AGAIN
    return MALFORMED


async def _refuse(error: Chat4AllError, scope: Scope, send: Any) -> None:
    """An HTTP answer instead of a socket."""

    async def answer(message: MutableMapping[str, Any]) -> None:
        await send({**message, "type": message["type"].replace("http.", "websocket.http.", 1)})

    await send_problem(error, scope, _limits_told(scope, answer))


def _limits_told(scope: Scope, send: Any) -> Any:
    return with_headers(scope["state"].get("limits", ()), send)


def _cursors(last_event_id: bytes | None) -> dict[str, int]:
    """
    What a stream's event id says that its client has.

    >>> _cursors(b"talk=7&a%26b=2"), _cursors(None)
    ({'talk': 7, 'a&b': 2}, {})
    """
    pairs = parse_qsl(last_event_id.decode("latin-1")) if last_event_id else []
    return {name: int(seq) for name, seq in pairs if seq.isascii() and seq.isdigit() and len(seq) < 16}
