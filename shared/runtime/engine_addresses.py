"""Whether somebody listens where the engines of the mode `servers` are to be: for commands, which do not wait."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shared.runtime.choices import split
from shared.runtime.wiring_error import WiringError

if TYPE_CHECKING:
    from shared.settings import Settings

START_THEM = "scripts/stack up starts them here, and told=$(scripts/stack env) && export $told says where they are"

_WITHIN = 1.0  # seconds for one address


@dataclass(frozen=True, slots=True)
class EngineAddresses:
    """``needed``: nothing works without; else the platform goes on, with less. ``addresses``: host and port each."""

    name: str
    needed: bool
    addresses: tuple[tuple[str, int], ...]

    def silent(self) -> dict[str, str]:
        """The addresses at which nobody takes a connection now, and why."""
        found = {}
        for host, port in self.addresses:
            try:
                socket.create_connection((host, port), _WITHIN).close()
            except OSError as error:
                found[f"{host}:{port}"] = error.strerror or str(error) or type(error).__name__
        return found


def engine_addresses(settings: "Settings") -> Iterator[EngineAddresses]:
    """
    Raises:
        WiringError: a setting has something else than addresses.
    """
    yield EngineAddresses("kafka", True, _addresses(settings.kafka_bootstrap_servers, 9092))
    hosts = split(settings.cassandra_contact_points)
    yield EngineAddresses("cassandra", True, tuple((host, settings.cassandra_port) for host in hosts))
    yield EngineAddresses("redis", False, _addresses(settings.redis_url, 6379))
    yield EngineAddresses("nats", False, _addresses(settings.nats_url, 4222))
    if settings.object_store != "folder" and settings.s3_endpoint:
        usual = 443 if settings.s3_endpoint.startswith("https") else 80
        yield EngineAddresses("object store", True, _addresses(settings.s3_endpoint, usual))


def _addresses(text: str, usual: int) -> tuple[tuple[str, int], ...]:
    """
    >>> _addresses("k1:9092,[::1]", 9093), _addresses("redis://:secret@cache/0", 6379)
    ((('k1', 9092), ('::1', 9093)), (('cache', 6379),))
    """
    parts = [urlsplit(one if "://" in one else f"//{one}") for one in split(text)]
    try:
        return tuple((one.hostname or "127.0.0.1", one.port or usual) for one in parts)
    except ValueError as error:
        raise WiringError(f"a server's address cannot be one: {error}") from None
