"""
One function as a service of its own: func-python's contract over ports that it opens itself. Events are POSTed to
"/"; everything else is its HTTP face, where it has one.

``start`` and ``stop`` are synchronous under stock func-python, which awaits neither: one task holds the ports
open, and the end of the loop closes them. Our own server awaits ``started`` and ``close``.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from shared.observability.log import LEVELS, SERVICE, log
from shared.runtime.functions import new
from shared.runtime.host import FunctionHost
from shared.runtime.http_face import http_face
from shared.runtime.opened import Opened
from shared.runtime.span_export import spans_by
from shared.runtime.start_error import NOT_STARTED, StartError
from shared.runtime.subscriber import Receive, Scope, Send
from shared.runtime.whole_request import WholeRequest
from shared.runtime.wiring_error import WiringError

Open = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Opened]]
"""Adapters by what the environment says; they are closed on leaving."""

_FACELESS = "its HTTP face cannot be built"

FUNCTION, LOG_LEVEL = "CHAT4ALL_FUNCTION", "CHAT4ALL_LOG_LEVEL"


def _log_from(level: str | None) -> None:
    """
    Raises:
        StartError: it is none.
    """
    if level is None:
        return
    if level not in LEVELS:
        raise StartError(f"{LOG_LEVEL} is none of {', '.join(LEVELS)}", NOT_STARTED)
    log.setLevel(level)


class FunctionService:
    """Which function is said by CHAT4ALL_FUNCTION in the environment that ``start`` is given."""

    def __init__(self, open_by: Open, end: Callable[[], None] = partial(signal.raise_signal, signal.SIGTERM)) -> None:
        """``end``: tells the process to end, after what it does."""
        self._open = open_by
        self._end = end
        self._name = ""
        self._host: FunctionHost | None = None
        self._face: Any | None = None
        self._life: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._leave = asyncio.Event()

    def start(self, cfg: Mapping[str, str]) -> None:
        self._life = asyncio.create_task(self._live(cfg), name="function service")

    async def started(self) -> None:
        """
        Wait until requests can be handled.

        Raises:
            Exception: whatever stopped the start.
        """
        assert self._life is not None
        opened = asyncio.create_task(self._opened.wait())
        await asyncio.wait((opened, self._life), return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if self._life.done():
            if self._life.cancelled():
                raise StartError("it was told to end before it had started", NOT_STARTED)
            await self._life

    def give_up(self) -> None:
        """Wait no more for what has not come; from a signal's handler."""
        if self._life is not None and not self._opened.is_set():
            self._life.get_loop().call_soon_threadsafe(self._life.cancel)

    async def hang_up(self) -> None:
        """End what would keep connections open for ever: sockets and streams."""
        close = getattr(self._face, "close", None)
        if close is not None:
            await close()

    def stop(self) -> None:
        self._host = self._face = None  # not ready any more; stock func-python cancels the task, once

    async def close(self) -> None:
        """Close the ports and wait until they are closed."""
        self._leave.set()
        if self._life is not None:
            await asyncio.gather(self._life, return_exceptions=True)

    def alive(self) -> tuple[bool, str]:
        if self._life is not None and self._life.done():
            return False, "stopped"
        return (False, _FACELESS) if self._faceless else (True, "alive")

    def ready(self) -> tuple[bool, str]:
        if self._faceless:
            return False, _FACELESS
        ready = self._host is not None or self._face is not None
        return ready, self._name if ready else "starting"

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._host is not None and (scope["path"] == "/" or self._face is None):
            await self._host.handle(scope, receive, send)
        elif self._face is not None and scope["type"] == "http":
            request = WholeRequest(scope, receive, send)
            await self._face(scope, request.receive, request.send)
            if self._faceless:  # a probe of whether it lives may be minutes away
                self._end()
        elif self._face is not None:
            await self._face(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    @property
    def _faceless(self) -> bool:
        """Who asks by HTTP can only be helped by another process."""
        return getattr(self._face, "broken", None) is not None

    async def _live(self, cfg: Mapping[str, str]) -> None:
        name = cfg.get(FUNCTION, "")
        try:
            _log_from(cfg.get(LOG_LEVEL))
            async with spans_by(cfg, service=name or SERVICE), self._open(cfg) as opened:
                function = new(name, opened.ports)
                self._name = name
                async with http_face(name, function, opened, cfg) as self._face:
                    if getattr(function, "accepts", ()):
                        self._host = FunctionHost(name, function, opened.ports.clock)
                    self._opened.set()
                    await self._leave.wait()
        except (WiringError, StartError) as error:
            log.critical("the function could not be started", function=name, why=str(error))
            raise
        except Exception:
            log.exception("the function could not be started", function=name)
            raise
        finally:
            self._host = self._face = None
