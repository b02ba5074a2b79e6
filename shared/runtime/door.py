"""What callers meet while the platform starts: it lives, it is not ready, it says what it waits for (E8)."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from orjson import dumps

from shared.domain.errors import Unavailable
from shared.http.middleware import Border, send_problem
from shared.runtime.opened import Waiting

_AGAIN = timedelta(seconds=1)

App = Callable[[Any, Any, Any], Awaitable[None]]


class Door:
    """An ASGI application that is another one from ``open`` on."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._app: App = Border(self._starting)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    def open(self, app: App) -> None:
        self._app = app

    async def _starting(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1013})  # try again later
            return
        match scope["path"]:
            case "/health/live":
                await _answer(send, 200, {"status": "ok"})
            case "/health" | "/health/ready":
                down = {
                    name: {"status": "down", "detail": why, "latency_ms": None, "needed": True}
                    for name, why in self._waiting.why.items()
                }
                await _answer(send, 503, {"status": "down", "live": True, "ready": False, "dependencies": down})
            case _:
                for_what = f", waiting for {', '.join(self._waiting.why)}" if self._waiting.why else ""
                error = Unavailable(f"the platform is starting{for_what}; try again", retry_after=_AGAIN)
                await send_problem(error, scope, send)


async def _answer(send: Any, status: int, body: object) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": dumps(body)})
