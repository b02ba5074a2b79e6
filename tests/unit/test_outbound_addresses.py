"""
Which addresses webhooks may go to: the table of what others were attacked by (SSRF; reliability.md 1.3, 1.5 point 13).
"""

import socket
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.outbound_address import refusal

ALWAYS = [
    "0.0.0.0", "0.1.2.3", "100.64.0.1", "100.100.100.200", "100.127.255.255", "168.63.129.16", "169.254.0.1",
    "169.254.169.254", "169.254.170.2", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::2", "::7f00:1", "::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808",
    "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:53aa:64c::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2002:808:808::1", "3fff::1", "5f00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1",
    "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:224.0.0.1",
]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.1.2.3", "127.255.255.255", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255",
    "192.168.0.1", "192.168.255.255", "::1", "fc00::1", "fd12:3456::1", "fdff::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:c0a8:1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1",
    "169.253.255.255", "169.255.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1", "192.167.255.255", "192.169.0.1",
    "198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001:80b::200e",
    "::ffff:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", ALWAYS)
def test_never(address: str) -> None:
    assert refusal(ip_address(address)) is not None
    assert refusal(ip_address(address), private_allowed=True) is not None


@pytest.mark.parametrize("address", PRIVATE)
def test_only_where_private_ones_are_allowed(address: str) -> None:
    assert refusal(ip_address(address)) in ("loopback", "private")
    assert refusal(ip_address(address), private_allowed=True) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_always(address: str) -> None:
    assert refusal(ip_address(address)) is None
    assert refusal(ip_address(address), private_allowed=True) is None


@pytest.mark.parametrize(
    "written", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "2852039166", "0251.0376.0251.0376", "0"]
)
def test_however_it_is_written_it_is_judged_as_what_it_means(written: str) -> None:
    """As the system reads it: this is what is connected to."""
    found = {address[0] for *_, address in socket.getaddrinfo(written, None, type=socket.SOCK_STREAM)}
    assert found
    assert all(refusal(ip_address(one)) is not None for one in found)


@given(st.integers(0, 2**32 - 1))
def test_whatever_is_not_global_is_refused_and_mapping_it_changes_nothing(number: int) -> None:
    plain = ip_address(number)
    if not plain.is_global:
        assert refusal(plain) is not None
    assert refusal(ip_address(f"::ffff:{plain}")) == refusal(plain)


@given(st.integers(0, 2**128 - 1))
def test_whatever_is_not_global_is_refused_in_ipv6_too(number: int) -> None:
    address = ip_address(number)
    if address.version == 6 and (not address.is_global or address in ip_network("64:ff9b::/96")):
        assert refusal(address) is not None
