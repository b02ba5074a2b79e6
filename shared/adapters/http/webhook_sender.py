"""
The WebhookSender over httpcore, with a network backend that resolves, judges and connects to what it judged.

There is no moment between look-up and use: the address that was judged is the one that is dialled, while TLS and the
Host header keep the name. So a name that resolves to something else a moment later changes nothing (DNS rebinding).
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from time import perf_counter
from typing import Any

import httpcore
import httpx

from shared.adapters.http.names import NameServers
from shared.domain.errors import Invalid
from shared.domain.outbound_address import Address, refusal
from shared.domain.webhook import Answer
from shared.observability.log import log

Resolve = Callable[[str], Awaitable[Sequence[Address]]]
"""
The addresses of a name, in the order in which they are tried.

Raises:
    OSError: there are none.
"""

LONGEST_URL = 2048
READ = 16 * 1024
"""Bytes of an answer that are read; the connection is closed on one that is longer."""
EXCERPT = 1024
"""Bytes of it that are kept."""
_CONNECT = 5.0  # seconds for each of looking up and connecting
_ADDRESSES = 4  # of a name that are tried
_STALE = 1.0  # seconds in which a kept connection that was closed on us shows
_FIRST_FREE_PORT = 1024
_LAST_PORT = 65535
_HTTPS = 443


class _Refused(httpcore.ConnectError):
    """Every address of the name is one that may not be called."""


class _Unresolved(httpcore.ConnectError):
    """The name has no address."""


class HttpWebhookSender:
    """
    Args:
        private_allowed: loopback and private addresses may be called too, by http too (a laptop, tests).
    """

    def __init__(
        self, *, private_allowed: bool = False, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._private_allowed = private_allowed
        self._names = NameServers()
        self._network = _GuardedNetwork(resolve or self._names, private_allowed)
        self._tls = tls
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def check(self, url: str) -> None:
        target = self._target(url)
        try:
            await self._network.allowed(target.raw_host.decode("ascii"))
        except httpcore.ConnectError as error:
            raise _wrong(str(error)) from None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, within: timedelta) -> Answer:
        began = perf_counter()
        try:
            async with asyncio.timeout(within.total_seconds()):
                answer = await self._post(self._target(url), headers, body, began)
        except TimeoutError:
            answer = Answer(problem="timeout")
        except Invalid:
            answer = Answer(problem="forbidden_url")
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            answer = Answer(problem=_problem(error))
        except Exception as error:  # noqa: BLE001  one receiver's oddity must not park what others wait behind
            log.warning("a webhook was called and something broke", exc_info=error)
            answer = Answer(problem="connection_lost")
        return replace(answer, seconds=perf_counter() - began)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()
        await self._names.close()

    def _connections(self) -> httpcore.AsyncConnectionPool:
        """Made when they are first needed: most functions never call a webhook, and reading the CAs takes a while."""
        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=self._tls or httpx.create_ssl_context(),
                max_connections=1000,
                max_keepalive_connections=200,
                keepalive_expiry=30.0,
                network_backend=self._network,
            )
        return self._pool

    async def _post(self, target: httpx.URL, headers: Mapping[str, str], body: bytes, began: float) -> Answer:
        """Twice when a connection that was kept turns out to be closed: the receiver has not seen the first."""
        connected: list[str] = []

        async def trace(name: str, _: Any) -> None:
            if name == "connection.connect_tcp.started":
                connected.append(name)

        try:
            return await self._once(target, headers, body, trace)
        except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError):
            if connected or perf_counter() - began > _STALE:
                raise
        return await self._once(target, headers, body, trace)

    async def _once(
        self, target: httpx.URL, headers: Mapping[str, str], body: bytes, trace: Callable[[str, Any], Awaitable[None]]
    ) -> Answer:
        request = {"host": target.netloc.decode("ascii"), "accept-encoding": "identity", **headers}
        where = httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path)
        limits = {"connect": 2 * _CONNECT, "pool": 2 * _CONNECT}
        async with self._connections().stream(
            "POST", where, headers=list(request.items()), content=body, extensions={"timeout": limits, "trace": trace}
        ) as response:
            read, truncated = await _beginning(response.aiter_stream())
            return Answer(
                status_code=response.status,
                retry_after=_header(response.headers, b"retry-after"),
                abort=_header(response.headers, b"webhook-delivery") == "abort-message",
                excerpt=read[:EXCERPT].decode(errors="replace"),
                truncated=truncated or len(read) > EXCERPT,
            )

    def _target(self, url: str) -> httpx.URL:
        """
        Raises:
            Invalid: it is no URL that webhooks may go to.
        """
        try:
            target = httpx.URL(url)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise _wrong(f"this is no URL: {error}") from None
        schemes = ("https", "http") if self._private_allowed else ("https",)
        if len(url) > LONGEST_URL:
            raise _wrong(f"at most {LONGEST_URL} characters")
        if target.scheme not in schemes:
            raise _wrong(f"it begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        if not target.host:
            raise _wrong("it has no host")
        if target.userinfo:
            raise _wrong("no user and password; the signature says that it is us")
        if target.fragment:
            raise _wrong("no fragment: nobody would see it")
        port = target.port
        if port is not None and not 0 < port <= _LAST_PORT:
            raise _wrong(f"there are the ports 1 to {_LAST_PORT}")
        if not self._private_allowed and port is not None and port != _HTTPS and port < _FIRST_FREE_PORT:
            raise _wrong(f"port {_HTTPS}, or one from {_FIRST_FREE_PORT} on")
        return target


@asynccontextmanager
async def webhook_sender(*, private_allowed: bool) -> AsyncIterator[HttpWebhookSender]:
    sender = HttpWebhookSender(private_allowed=private_allowed)
    try:
        yield sender
    finally:
        await sender.close()


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were judged, and to nothing else."""

    def __init__(self, resolve: Resolve, private_allowed: bool) -> None:
        self._resolve = resolve
        self._private_allowed = private_allowed
        self._network = httpcore.AnyIOBackend()

    async def allowed(self, host: str) -> list[Address]:
        """
        Raises:
            httpcore.ConnectError: there is none; the text says why.
        """
        addresses = await self._addresses(host)
        refused = {address: refusal(address, private_allowed=self._private_allowed) for address in addresses}
        allowed = [address for address, why in refused.items() if why is None]
        if not allowed:
            kinds = ", ".join(sorted({str(why) for why in refused.values()}))
            may = "public, private and loopback addresses" if self._private_allowed else "public addresses"
            raise _Refused(f"{host} is none that may be called ({kinds}); webhooks go to {may} only")
        return allowed[:_ADDRESSES]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  as httpcore calls it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        last: Exception | None = None
        for address in await self.allowed(host):
            try:
                return await self._network.connect_tcp(str(address), port, timeout=_CONNECT)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        assert last is not None
        raise last

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise _Refused("no sockets of this machine")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _addresses(self, host: str) -> Sequence[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        try:
            async with asyncio.timeout(_CONNECT):
                addresses = await self._resolve(host)
        except (OSError, UnicodeError, TimeoutError):
            addresses = []
        if not addresses:
            raise _Unresolved(f"{host} has no address that we can find")
        return addresses


async def _beginning(chunks: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """At most ``READ`` bytes, and whether there were more."""
    read = b""
    async for chunk in chunks:
        read += chunk
        if len(read) > READ:
            return read[:READ], True
    return read, False


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), None)


def _problem(error: Exception) -> str:
    match error:
        case _Refused():
            return "forbidden_address"
        case _Unresolved():
            return "unresolvable"
        case httpcore.TimeoutException():
            return "timeout"
        case httpcore.ConnectError() if isinstance(error.__context__, ssl.SSLError):
            return "tls"
        case httpcore.ConnectError():
            return "unreachable"
        case _:
            return "connection_lost"


def _wrong(detail: str) -> Invalid:
    return Invalid(errors=[{"pointer": "/url", "detail": detail}])
