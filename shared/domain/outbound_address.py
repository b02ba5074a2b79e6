"""
Which addresses a URL that a customer chose may lead us to (SSRF: OWASP API7:2023; reliability.md 1.3).

What is judged is the address that is about to be connected to, never a name: names are resolved anew each time.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address


def _networks(table: Mapping[str, str]) -> dict[IPv4Network | IPv6Network, str]:
    return {ip_network(network): what for network, what in table.items()}


_NEVER = _networks(
    {
        "0.0.0.0/8": "an address of this host",
        "100.64.0.0/10": "shared address space",  # also a cloud's metadata: 100.100.100.200
        "168.63.129.16/32": "a cloud's own service",
        "169.254.0.0/16": "link-local",  # also most clouds' metadata: 169.254.169.254
        "192.0.0.0/24": "reserved for protocols",
        "192.0.2.0/24": "for documentation",
        "192.88.99.0/24": "a 6to4 relay",
        "198.18.0.0/15": "for benchmarks",
        "198.51.100.0/24": "for documentation",
        "203.0.113.0/24": "for documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
        "::/128": "unspecified",
        "::/96": "an IPv4 address in disguise",  # but ::1, which is looked for first
        "64:ff9b::/96": "an IPv4 address in disguise",  # NAT64
        "64:ff9b:1::/48": "an IPv4 address in disguise",
        "100::/64": "a black hole",
        "2001::/23": "reserved for protocols",  # Teredo too
        "2001:db8::/32": "for documentation",
        "2002::/16": "an IPv4 address in disguise",  # 6to4
        "3fff::/20": "for documentation",
        "5f00::/16": "for segment routing",
        "fd00:ec2::/32": "a cloud's metadata",
        "fd20:ce::/32": "a cloud's metadata",
        "fe80::/10": "link-local",
        "fec0::/10": "site-local",
        "ff00::/8": "multicast",
    }
)
_PRIVATE = _networks(
    {
        "127.0.0.0/8": "loopback",
        "::1/128": "loopback",
        "10.0.0.0/8": "private",
        "172.16.0.0/12": "private",
        "192.168.0.0/16": "private",
        "fc00::/7": "private",
    }
)
_LOOPBACK = IPv6Address("::1")


def refusal(address: Address, *, private_allowed: bool = False) -> str | None:
    """
    Why the address may not be called; None: it may.

    Args:
        private_allowed: loopback and private networks may be called too; nothing else is.

    >>> from ipaddress import ip_address
    >>> refusal(ip_address("::ffff:10.0.0.1")), refusal(ip_address("10.0.0.1"), private_allowed=True)
    ('private', None)
    >>> refusal(ip_address("169.254.169.254"), private_allowed=True)
    'link-local'
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return refusal(address.ipv4_mapped, private_allowed=private_allowed)
        address = IPv6Address(int(address))  # without its scope
    if address != _LOOPBACK:
        for network, what in _NEVER.items():
            if address.version == network.version and address in network:
                return what
    for network, what in _PRIVATE.items():
        if address.version == network.version and address in network:
            return None if private_allowed else what
    return None if address.is_global else "not a public address"
