"""
Addresses of names, asked without threads: a name server that is silent costs whoever waits for it, and nobody else.

``getaddrinfo`` holds a thread until the system gives up, half a minute later; a few dead names would hold them all.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import aiodns

_TIMEOUT, _TRIES = 2.0, 2
"""Seconds for each try of a server."""


class NameServers:
    """Those of /etc/resolv.conf, after /etc/hosts; or ``servers``, at ``port``. ``close`` it in the end."""

    def __init__(self, servers: Sequence[str] | None = None, port: int = 53) -> None:
        self._servers, self._port = servers, port
        self._resolver: aiodns.DNSResolver | None = None

    async def __call__(self, host: str) -> Sequence[IPv4Address | IPv6Address]:
        """
        The addresses of a name, in the order in which they are tried.

        Raises:
            OSError: there are none, or nobody says.
        """
        try:
            found = await self._asked().getaddrinfo(host, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            raise OSError(f"{host}: {error}") from None
        return list(dict.fromkeys(ip_address(node.addr[0].decode("ascii")) for node in found.nodes))

    async def close(self) -> None:
        if self._resolver is not None:
            await self._resolver.close()

    def _asked(self) -> aiodns.DNSResolver:
        """Made when it is first needed, in the loop that needs it."""
        if self._resolver is None:
            self._resolver = aiodns.DNSResolver(
                nameservers=self._servers, timeout=_TIMEOUT, tries=_TRIES, udp_port=self._port, tcp_port=self._port
            )
        return self._resolver
