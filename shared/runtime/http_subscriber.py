"""A service at a URL, called by aiohttp: what a call costs does not grow with those under way (ADR 39)."""

import asyncio

import aiohttp
from aiohttp.abc import AbstractResolver

from events import CloudEvent
from shared.observability.log import log
from shared.runtime.subscriber import Answer, Headers, binary_request

IDLE = 5.0
"""Seconds that a connection is kept without a call; shorter than any server keeps it (serve.KEEP_ALIVE)."""
_STALE = 1.0
"""Seconds in which a kept connection that was closed on us shows."""
_UNASKED = ("accept", "accept-encoding", "content-type", "user-agent")


class HttpSubscriber:
    """``session`` is one that ``open_session`` made."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self._session = session

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
        headers, body = binary_request(event, headers)
        told = [(name.decode(), value.decode()) for name, value in headers]
        try:
            async with asyncio.timeout(within):
                return await self._answer(told, body)
        except (TimeoutError, aiohttp.ClientError) as error:
            log.warning("no answer from a subscriber", subscriber=self.address, error=type(error).__name__)
            return None

    async def _answer(self, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """
        Twice when a connection that was kept turns out to be closed. aiohttp does so itself, but for no POST; an event
        may come twice.
        """
        used = _Connection()
        began = asyncio.get_running_loop().time()
        try:
            return await self._once(headers, body, used)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not used.kept or asyncio.get_running_loop().time() - began > _STALE:
                raise
        return await self._once(headers, body, _Connection())

    async def _once(self, headers: list[tuple[str, str]], body: bytes, used: "_Connection") -> Answer:
        async with self._session.post(
            self.address, headers=headers, data=body, allow_redirects=False, trace_request_ctx=used
        ) as response:
            content = await response.read()
            answered = [(name.lower(), value) for name, value in response.raw_headers]
            return Answer(response.status, answered, content)


class _Connection:
    """What a request went over."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = False


def open_session(resolver: AbstractResolver | None = None) -> aiohttp.ClientSession:
    """
    HTTP/1.1 as our broker speaks it: no limit of calls, no time limit but that of each call, no proxy, no cookies.

    Args:
        resolver: who knows the addresses of services (default: getaddrinfo, so that names of the cluster mean what they
            mean to every other process of the pod; aiohttp alone would take aiodns because it is installed).
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=IDLE, resolver=resolver or aiohttp.ThreadedResolver()
        ),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_UNASKED,
        trace_configs=[_reuse()],
        trust_env=False,
    )


def _reuse() -> aiohttp.TraceConfig:
    async def reused(_: object, context: object, __: aiohttp.TraceConnectionReuseconnParams) -> None:
        context.trace_request_ctx.kept = True  # type: ignore[attr-defined]

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(reused)
    return trace
