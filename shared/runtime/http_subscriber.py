"""A function at a URL, called by aiohttp: what a call costs does not grow with those under way (ADR 39)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver

from events import CloudEvent
from shared.observability.log import log
from shared.runtime.subscriber import Answer, Headers, binary_request

IDLE = 1.0
"""
Seconds that a connection is kept without a call; shorter than any server keeps it (serve.KEEP_ALIVE). aiohttp uses the
one that is idle longest first, so as many are kept as calls come in this time, if ever so many were under way at once.
"""
_STALE = 1.0
"""Seconds in which a kept connection that was closed on us shows."""
_UNASKED = ("accept", "accept-encoding", "content-type", "user-agent")


class Sessions(NamedTuple):
    """As ``open_sessions`` makes them."""

    keeping: aiohttp.ClientSession
    fresh: aiohttp.ClientSession
    """Each request goes over a new connection, which is closed after it."""


class HttpSubscriber:
    def __init__(self, address: str, sessions: Sessions) -> None:
        self.address = address
        self._sessions = sessions

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
        try:
            headers, body = binary_request(event, headers)
            told = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
            async with asyncio.timeout(within):
                answer = await self._answer(told, body)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:  # ValueError: no header holds such a value
            log.warning("no answer from a subscriber", subscriber=self.address, error=type(error).__name__)
            return None
        if _is_a_proxys(answer):
            log.warning("no answer from a subscriber, but an empty one from a proxy", subscriber=self.address)
            return None
        return answer

    async def _answer(self, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """
        Twice when a connection that was kept turns out to be closed; the second time over a new one, because a service
        that restarts has closed all that were kept. aiohttp repeats by itself, but no POST; an event may come twice.
        """
        used = _Connection()
        began = asyncio.get_running_loop().time()
        try:
            return await self._once(self._sessions.keeping, headers, body, used)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not used.kept or asyncio.get_running_loop().time() - began > _STALE:
                raise
        return await self._once(self._sessions.fresh, headers, body, _Connection())

    async def _once(
        self, session: aiohttp.ClientSession, headers: list[tuple[str, str]], body: bytes, used: "_Connection"
    ) -> Answer:
        async with session.post(
            self.address, headers=headers, data=body, allow_redirects=False, trace_request_ctx=used
        ) as response:
            content = await response.read()
            answered = [(name.lower(), value) for name, value in response.raw_headers]
            return Answer(response.status, answered, content)


def _is_a_proxys(answer: Answer) -> bool:
    """
    Knative's proxies leave an empty 200 in the place of an answer, where another call of theirs was given up at the
    wrong moment (ADR 45). A function of ours says 204 when there is nothing to say.
    """
    says_something = answer.body or any(name in (b"content-type", b"ce-id") for name, _ in answer.headers)
    return answer.status == 200 and not says_something


class _Connection:
    """What a request went over."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = False


@asynccontextmanager
async def open_sessions(resolver: AbstractResolver | None = None) -> AsyncIterator[Sessions]:
    """
    HTTP/1.1 as our broker speaks it: no limit of calls, no time limit but that of each call, no proxy, no cookies.

    Args:
        resolver: who knows the addresses of services (default: getaddrinfo, so that names of the cluster mean what they
            mean to every other process of the pod; aiohttp alone would take aiodns because it is installed).
    """
    names = resolver or aiohttp.ThreadedResolver()
    keeping = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE, resolver=names)
    fresh = aiohttp.TCPConnector(limit=0, force_close=True, resolver=names)
    async with _session(keeping) as first, _session(fresh) as second:
        yield Sessions(first, second)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
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
