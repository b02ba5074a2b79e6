"""Who a Trigger calls, and functions of this process by func-python's contract; services are http_subscriber's."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from typing import Any, NamedTuple, Protocol

from events import CloudEvent
from shared.observability.log import log

Headers = list[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Answer(NamedTuple):
    """Header names in lower case, as ASGI gives them."""

    status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""


class Subscriber(Protocol):
    address: str
    """Its URI: what a dead letter names in ``knativeerrordest``."""

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
        """
        POST one event and wait for the answer, at most ``within`` seconds, for ever when None.

        None: there was no answer, because it was refused, closed or cut after ``within``. Redirects are answers.

        Args:
            headers: beside those of the event.
        """
        ...


class Function(Protocol):
    """func-python's contract, as far as one request goes."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None: ...


_POST: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "root_path": "",
    "query_string": b"",
    "client": None,
    "server": None,
}


class Host(Protocol):
    """Who takes an event as it is, and answers what a server would."""

    async def answer(self, event: CloudEvent) -> Answer: ...


class HostedSubscriber:
    """A function of this process behind its host: no request is made of an event that is there already."""

    def __init__(self, address: str, host: Host) -> None:
        self.address = address
        self._host = host

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
        return await _in_time(self._host.answer(event), within, self.address)


class LocalSubscriber:
    """A function of this process by func-python's contract; it is called as its server would, without a socket."""

    def __init__(self, address: str, function: Function) -> None:
        self.address = address
        self._function = function

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
        return await self.post(*binary_request(event, headers), within)

    async def post(self, headers: Headers, body: bytes, within: float | None) -> Answer | None:
        """One request as it is."""
        return await _in_time(self._exchanged(headers, body), within, self.address)

    async def _exchanged(self, headers: Headers, body: bytes) -> Answer:
        exchange = _Exchange(body)
        await self._function.handle({**_POST, "headers": headers}, exchange.receive, exchange.send)
        return exchange.answer()


def binary_request(event: CloudEvent, more: Headers) -> tuple[Headers, bytes]:
    """In binary mode; without a body the real broker says no content-length, a client of HTTP does (RFC 9110, 8.6)."""
    headers, body = event.to_binary()
    if not body:
        headers.pop()
    return headers + more, body


async def _in_time(asked: Coroutine[Any, Any, Answer], within: float | None, address: str) -> Answer | None:
    cut = None if within is None else _Cut(within)
    try:
        answer = await asked
    except asyncio.CancelledError:
        if cut is None or not cut.swallowed():
            raise
        return None
    except Exception:  # noqa: BLE001  whatever escapes a function is its server's 500
        log.exception("a function raised through its host", subscriber=address)
        return Answer(500)
    finally:
        if cut is not None:
            cut.timer.cancel()
    if cut is not None and cut.fired:
        cut.swallowed()
        return None
    return answer


class _Cut:
    """Cancels the current task at the timeout; asyncio.timeout does the same at several times the price."""

    __slots__ = ("_task", "fired", "timer")

    def __init__(self, within: float) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = task
        self.fired = False
        self.timer = loop.call_later(within, self._fire)

    def _fire(self) -> None:
        self.fired = True
        self._task.cancel()

    def swallowed(self) -> bool:
        """Whether the cancellation was ours alone; then the task goes on."""
        return self.fired and self._task.uncancel() == 0


class _Exchange:
    __slots__ = ("_body", "_headers", "_parts", "_read", "_status")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._read = False
        self._status = 0
        self._headers: Sequence[tuple[bytes, bytes]] = ()
        self._parts = b""

    async def receive(self) -> MutableMapping[str, Any]:
        if self._read:
            return {"type": "http.disconnect"}
        self._read = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = message.get("headers", ())
        elif message["type"] == "http.response.body":
            self._parts += message.get("body", b"")

    def answer(self) -> Answer:
        # A server answers 500 for a function that sent nothing.
        return Answer(self._status or 500, self._headers, self._parts)
