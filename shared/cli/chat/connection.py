"""
A user's socket that comes back by itself (api.md, Real time).

The platform replays what was not acknowledged, so coming back is only: a token, a socket, and ``ready``.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from shared.cli.platform import Json, PlatformRefused, PlatformUnreachable

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

READY, LOST = "ready", "lost"
"""Types of the frames by which ``frames`` tells how the connection stands; READY is the platform's own."""

_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds until the next try
_HOPELESS = frozenset((4400, 4403))
"""Close codes that trying again does not change: we speak another protocol, or may not."""
_LARGEST = 4 * 1024 * 1024


class Connection:
    """``token`` gives a fresh token for each try."""

    def __init__(self, url: str, token: Callable[[], Awaitable[str]]) -> None:
        self._url = socket_url(url)
        self._token = token
        self._socket: ClientConnection | None = None

    async def frames(self) -> AsyncIterator[Json]:
        """
        Every frame as it comes, for ever, over as many sockets as it takes; {"type": LOST} between two of them.

        Raises:
            PlatformRefused: the platform does not let us in, whatever we do; while it fails it is asked again.
        """
        tries = 0
        while True:
            try:
                async for frame in self._one_socket():
                    tries = 0 if frame.get("type") == READY else tries
                    yield frame
            except (PlatformRefused, PlatformUnreachable, OSError, TimeoutError) as error:
                if isinstance(error, PlatformRefused) and not error.failed:
                    raise
                yield {"type": LOST, "why": str(error) or type(error).__name__}
            else:
                yield {"type": LOST, "why": "the platform closed the socket"}
            await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1

    async def send(self, frame: Json) -> None:
        """Now or never: while there is no socket it is dropped; what must not be lost is not sent by sockets."""
        from websockets.exceptions import ConnectionClosed

        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(json.dumps(frame))

    async def _one_socket(self) -> AsyncIterator[Json]:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

        headers = {"Authorization": f"Bearer {await self._token()}"}
        try:
            async with connect(
                self._url, additional_headers=headers, max_size=_LARGEST, user_agent_header="chat4all-cli"
            ) as socket:
                self._socket = socket
                try:
                    async for text in socket:
                        frame = json.loads(text)
                        match frame.get("type"):
                            case "ping":
                                await self.send({"type": "pong"})
                            case "auth.expiring":
                                await self.send({"type": "auth", "token": await self._token()})
                            case "auth.renewed":
                                pass
                            case _:
                                yield frame
                finally:
                    self._socket = None
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code in _HOPELESS:
                raise refusal(closed) from None
        except InvalidStatus as refused:
            status = refused.response.status_code
            if 400 <= status < 500 and status not in (408, 429):
                raise refusal(refused) from None
            raise PlatformUnreachable(self._url, f"HTTP {status}") from None
        except InvalidHandshake as broken:
            raise PlatformUnreachable(self._url, str(broken)) from None


def socket_url(url: str) -> str:
    """
    Where the sockets of the platform at ``url`` are.

    >>> socket_url("https://chat.example/api")
    'wss://chat.example/api/ws'
    """
    scheme, _, rest = url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws"


def refusal(error: Exception) -> PlatformRefused:
    """What kept us out, as the command line tells it; the status is a close code when a socket was closed."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    if isinstance(error, InvalidStatus):
        return _problem(error.response.status_code, error.response.body)
    if isinstance(error, ConnectionClosed):
        code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "without a word")
        return PlatformRefused(code, {"title": "the platform closed the socket", "detail": f"{code} {reason}".strip()})
    return PlatformRefused(0, {"title": "no socket", "detail": str(error) or type(error).__name__})


def _problem(status: int, body: bytes | bytearray | None) -> PlatformRefused:
    try:
        problem = json.loads(body or b"")
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    return PlatformRefused(status, {"title": "no socket", "detail": f"HTTP {status}", **problem})
