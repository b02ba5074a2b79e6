"""
What every simulator has: what people would see, the faults, and the control API (channels.md 3.7).

The last four digits of a recipient choose what happens:

    0001  taken, delivered, read (and so does any other recipient)
    0002  taken, never delivered
    0003  the 24-hour window is closed
    0004  the person has blocked us
    0005  429 with a wait of 3 s, then taken
    0006  500 twice, then taken
    0007  taken, and the connection drops before the answer is complete
    0008  every callback comes three times
    0009  read comes before delivered
    0010  taken, and failed 30 s later (where the provider tells)

Control, JSON in and out: POST /_sim/inbound, /_sim/latency {"seconds"}, /_sim/down {"down"}, /_sim/subscribe;
GET /_sim/sent?since=&to=, GET /_sim/inbound, GET /_sim/state; DELETE /_sim/sent. GET / is a page for people.
Nothing is idempotent, because no provider is: every POST that is taken is shown.
"""

import asyncio
import hmac
import secrets
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypedDict, TypeVar

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.simulators.callbacks import Callbacks

T = TypeVar("T")

MOST_SHOWN = 1_000_000
LARGEST_BODY = 1024**2  # bytes
RATE_WAIT = 3.0  # seconds, suffix 0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    What a simulator is made of.

    ``callback_url`` is the platform's ``/v1/inbound/{tenant}/{channel}``. ``key`` is the secret from which the
    app secret, the verify token and the access token are derived: the same key gives the same ones after a
    restart. ``pace`` is the time between two receipts, ``late`` that before the failure of 0010, in seconds.
    ``uncertain_wait`` goes into the demo account, so that a lost answer is settled while one watches.
    """

    callback_url: str | None = None
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    pace: float = 0.1
    late: float = 30.0
    uncertain_wait: float = 2.0
    http: httpx.AsyncClient | None = None

    def secret(self, channel: str, purpose: str) -> str:
        return hmac.new(self.key.encode(), f"{channel} {purpose}".encode(), "sha256").hexdigest()[:40]


class Account(TypedDict):
    """What a tenant enters to use a simulator: the body of PUT /v1/channels/{channel}/accounts/{account_id}."""

    account_id: str
    settings: dict[str, Any]
    secrets: dict[str, str]


class Simulator(Protocol):
    """A simulated provider; found by the entry point group ``chat4all.simulators``."""

    name: ClassVar[str]
    app: ASGIApp
    stage: "Stage"

    def __init__(self, options: Options) -> None: ...

    def demo_account(self, base_url: str) -> Account:
        """The account that talks to this simulator, which is reachable at ``base_url``."""
        ...


class Written(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """
    POST /_sim/inbound: a customer writes. ``message`` is merged into the provider's message object, so that any
    type can be written; ``times`` repeats the webhook, as providers do.
    """

    sender: str = msgspec.field(name="from")
    text: str = ""
    name: str | None = None
    user_id: str | None = None
    reply_to: str | None = None
    message: dict[str, Any] = {}
    times: int = 1


class Refusal(NamedTuple):
    kind: Literal["window_closed", "blocked", "rate", "broken", "down"]
    wait: float = 0.0


Receipt = tuple[float, Literal["sent", "delivered", "read", "failed"]]


class Shown(msgspec.Struct):
    """One message as its recipient sees it. ``n`` counts all since the start."""

    n: int
    message_id: str
    to: str
    text: str
    media: dict[str, Any] | None
    delivery_id: str
    reply_to: str | None
    at: float


class _Latency(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float


class _Down(msgspec.Struct, forbid_unknown_fields=True):
    down: bool = True


class BadBody(Exception):
    pass


async def body_of(request: Request, shape: type[T]) -> T:
    """
    Raises:
        BadBody: larger than a megabyte, no JSON, or not of this shape.
    """
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > LARGEST_BODY:
            raise BadBody("the body is larger than 1 MiB")
    try:
        return msgspec.json.decode(bytes(raw), type=shape)
    except (ValueError, RecursionError) as error:
        raise BadBody(str(error)) from None


def object_in(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """
    The object called ``name``, empty when left out.

    Raises:
        BadBody: there is something else in its place.
    """
    found = body.get(name) or {}
    if not isinstance(found, dict):
        raise BadBody(f"{name} must be an object")
    return found


class Dropped(Response):
    """
    Promise a body, send a byte of it, and go: the server then closes the connection.

    That is what ASGI leaves an application to do; seen from the client, the answer was lost.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"512")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})


class Stage:
    """State and control API of one simulator; the wire format is the simulator's own business."""

    def __init__(self, name: str, kind: str, options: Options, write: Callable[[Written], Mapping[str, Any]]) -> None:
        """
        ``kind`` is the ``object`` of its webhooks; ``write`` makes the entry of one from what a customer wrote,
        and raises BadBody.
        """
        self.name = name
        self.options = options
        self.app_secret = options.secret(name, "app secret")
        self.verify_token = options.secret(name, "verify token")
        self.access_token = options.secret(name, "access token")
        self.callbacks = Callbacks(kind, options.callback_url, self.app_secret, options.http)
        self.latency = 0.0
        self.down = False
        self.shown: deque[Shown] = deque(maxlen=MOST_SHOWN)
        self.inbound: deque[dict[str, Any]] = deque(maxlen=1000)
        self._write = write
        self._count = 0
        self._times: Counter[tuple[str, str]] = Counter()
        self._free_at: dict[str, float] = {}
        self._broken: Counter[str] = Counter()

    async def aclose(self) -> None:
        await self.callbacks.aclose()

    def now(self) -> float:
        """Seconds since 1970; simulators keep the provider's time, not the platform's."""
        return time.time()  # noqa: TID251

    async def refusal(self, recipient: str) -> Refusal | None:
        """Why a send to ``recipient`` is refused now; None when it is taken."""
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.down or self.callbacks.full:
            return Refusal("down")
        match recipient[-4:]:
            case "0003":
                return Refusal("window_closed")
            case "0004":
                return Refusal("blocked")
            case "0005":
                return self._rate(recipient)
            case "0006":
                return self._twice_broken(recipient)
        return None

    def show(
        self,
        to: str,
        message_id: str,
        *,
        text: str,
        media: dict[str, Any] | None = None,
        delivery_id: str = "",
        reply_to: str | None = None,
    ) -> None:
        self._count += 1
        self.shown.append(Shown(self._count, message_id, to, text, media, delivery_id, reply_to, round(self.now(), 3)))
        self._times[to, delivery_id or text] += 1

    def receipts(self, recipient: str) -> Iterator[Receipt]:
        """What is reported about a message that was taken, and how many seconds after."""
        pace = self.options.pace
        usual: list[Receipt] = [(pace, "sent"), (2 * pace, "delivered"), (3 * pace, "read")]
        match recipient[-4:]:
            case "0002":
                usual = usual[:1]
            case "0008":
                usual = [receipt for receipt in usual for _ in range(3)]
            case "0009":
                usual = [usual[0], (2 * pace, "read"), (3 * pace, "delivered")]
            case "0010":
                usual = [usual[0], (self.options.late, "failed")]
        yield from usual

    def drops(self, recipient: str) -> bool:
        return recipient.endswith("0007")

    def _rate(self, recipient: str) -> Refusal | None:
        now = self.now()
        if recipient not in self._free_at:
            self._free_at[recipient] = now + RATE_WAIT
        wait = self._free_at[recipient] - now
        if wait > 0:
            return Refusal("rate", wait)
        del self._free_at[recipient]
        return None

    def _twice_broken(self, recipient: str) -> Refusal | None:
        self._broken[recipient] += 1
        if self._broken[recipient] <= 2:
            return Refusal("broken")
        del self._broken[recipient]
        return None

    def routes(self) -> list[Route]:
        return [
            Route("/", self._page, methods=["GET"]),
            Route("/_sim/inbound", _checked(self._post_inbound), methods=["POST"]),
            Route("/_sim/inbound", self._get_inbound, methods=["GET"]),
            Route("/_sim/latency", _checked(self._post_latency), methods=["POST"]),
            Route("/_sim/down", _checked(self._post_down), methods=["POST"]),
            Route("/_sim/subscribe", _checked(self._post_subscribe), methods=["POST"]),
            Route("/_sim/state", self._get_state, methods=["GET"]),
            Route("/_sim/sent", self._get_sent, methods=["GET"]),
            Route("/_sim/sent", self._delete_sent, methods=["DELETE"]),
        ]

    async def _page(self, request: Request) -> Response:
        page = files("shared.simulators").joinpath("page.html").read_text(encoding="utf-8")
        return HTMLResponse(page.replace("{{channel}}", self.name))

    async def _post_inbound(self, request: Request) -> Response:
        written = await body_of(request, Written)
        if not 1 <= written.times <= 10:
            raise BadBody("times is 1 to 10")
        entry = self._write(written)
        for _ in range(written.times):
            self.callbacks.post(entry, alone=True)
        self.inbound.append({"from": written.sender, "text": written.text, "at": round(self.now(), 3)})
        return JSONResponse({"entry": entry}, status_code=202)

    async def _get_inbound(self, request: Request) -> Response:
        return JSONResponse({"items": list(self.inbound)})

    async def _post_latency(self, request: Request) -> Response:
        seconds = (await body_of(request, _Latency)).seconds
        if not 0 <= seconds <= 600:
            raise BadBody("seconds is 0 to 600")
        self.latency = seconds
        return await self._get_state(request)

    async def _post_down(self, request: Request) -> Response:
        self.down = (await body_of(request, _Down)).down
        return await self._get_state(request)

    async def _post_subscribe(self, request: Request) -> Response:
        return JSONResponse({"ok": await self.callbacks.subscribe(self.verify_token)})

    async def _get_state(self, request: Request) -> Response:
        return JSONResponse(
            {
                "channel": self.name,
                "shown": self._count,
                "down": self.down,
                "latency": self.latency,
                "callbacks": {
                    "pending": self.callbacks.pending,
                    "pending_messages": self.callbacks.pending_alone,
                    "answered": self.callbacks.answered,
                    "refused": self.callbacks.refused,
                    "blank": self.callbacks.blank,
                },
            }
        )

    async def _get_sent(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        to = request.query_params.get("to")
        first = int(since) if since.isdecimal() and len(since) < 19 else 0
        items = [
            {**msgspec.to_builtins(shown), "times": self._times[shown.to, shown.delivery_id or shown.text]}
            for shown in self.shown
            if shown.n > first and to in (None, shown.to)
        ]
        return Response(msgspec.json.encode({"items": items, "last": self._count}), media_type="application/json")

    async def _delete_sent(self, request: Request) -> Response:
        self.shown.clear()
        self._times.clear()
        return Response(status_code=204)


def _checked(handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def checked(request: Request) -> Response:
        # A form on somebody's page can post text/plain to a simulator on this machine, but not JSON.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return JSONResponse({"error": "send application/json"}, status_code=415)
        try:
            return await handle(request)
        except BadBody as error:
            return JSONResponse({"error": str(error)}, status_code=422)

    return checked
