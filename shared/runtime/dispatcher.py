"""
Our broker's half of Knative as a process of its own: Triggers over Kafka that call Services over HTTP (ADR 21).

Functions are then Knative Services that scale to zero; this process holds the consumer groups. Started by
``chat4all dispatch``; start more of them and they share the partitions.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from shared.observability import metrics
from shared.observability.log import log
from shared.runtime.opened import Opened
from shared.runtime.start_error import NOT_STARTED, StartError
from shared.runtime.subscriber import Receive, Scope, Send
from shared.runtime.timers import Timers
from shared.runtime.trigger_runner import Pace, Runner
from shared.runtime.wiring import Wiring
from shared.runtime.wiring_error import WiringError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

DRAIN = 20.0
"""Seconds that calls under way are given at the end."""

MINUTE = 60.0
"""Seconds; a PingSource ticks no oftener, and what is woken oftener never scales to zero."""

_NOT_HERE = {"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]}

Open = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Opened]]


class Dispatcher:
    """func-python's contract, so that it is served as a function is: health and metrics are its only pages."""

    def __init__(self, open_by: Open, wired: Wiring, pace: Pace, resolver: "AbstractResolver | None" = None) -> None:
        """``resolver``: who knows the addresses of Services (default: getaddrinfo)."""
        self._open_by = open_by
        self._resolver = resolver
        self._wired = wired
        self._pace = pace
        self._stack = AsyncExitStack()
        self._starting: asyncio.Task[None] | None = None
        self._runner: Runner | None = None

    async def start(self, cfg: Mapping[str, str]) -> None:
        """
        Returns when it takes events.

        Raises:
            WiringError: a setting is missing or does not fit.
            StartError: it was given up.
        """
        self._starting = asyncio.create_task(self._start(cfg), name="dispatcher")
        await asyncio.wait((self._starting,))
        if self._starting.cancelled():
            raise StartError("it was told to end before it had started", NOT_STARTED)
        await self._starting

    def give_up(self) -> None:
        """Wait no more for what has not come; from a signal's handler."""
        if self._starting is not None:
            self._starting.get_loop().call_soon_threadsafe(self._starting.cancel)

    async def close(self) -> None:
        """What is under way is finished, then the place in the log is kept."""
        self._runner = None
        await self._stack.aclose()

    def alive(self) -> tuple[bool, str]:
        return (True, "starting") if self._runner is None else self._runner.alive()

    def ready(self) -> tuple[bool, str]:
        return self._runner is not None, "dispatcher"

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(dict(_NOT_HERE))
        await send({"type": "http.response.body", "body": b""})

    async def _start(self, cfg: Mapping[str, str]) -> None:
        try:
            opened = await self._stack.enter_async_context(self._open_by(cfg))
            runner = await self._dispatching(opened)
        except BaseException as error:
            await self._stack.aclose()
            # Whoever serves us ends without a word of its own.
            if isinstance(error, WiringError):
                log.critical("the dispatcher could not be started", why=str(error))
            elif isinstance(error, Exception):
                log.exception("the dispatcher could not be started")
            raise
        self._runner = runner
        log.info("takes events", triggers=len(self._wired.triggers))

    async def _dispatching(self, opened: Opened) -> Runner:
        # Not before the ports are open: without the extra ``servers`` that ends with what to install.
        from shared.runtime.http_subscriber import HttpSubscriber, open_sessions

        sessions = await self._stack.enter_async_context(open_sessions(self._resolver))
        called = {name: HttpSubscriber(one.address, sessions) for name, one in self._wired.services.items()}
        runner = opened.runner(self._wired.triggers, called, self._pace)
        metrics.REGISTRY.register(runner)
        self._stack.callback(metrics.REGISTRY.unregister, runner)
        self._stack.push_async_callback(runner.stop, DRAIN)
        await runner.start()
        seldom = [replace(timer, every=max(timer.every, MINUTE)) for timer in self._wired.timers]
        timers = Timers(seldom, opened.ports.sink, opened.ports.clock)
        timers.start()
        self._stack.push_async_callback(timers.stop)
        return runner
