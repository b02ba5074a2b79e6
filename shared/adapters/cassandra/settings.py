"""Where Cassandra is and how it is used."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    """
    ``datacenter``: the one whose nodes are asked; without it that of the contact points. ``replication_factor`` is
    for a keyspace that is not there yet. ``request_timeout``, in seconds, is to be above the server's own
    time-outs (5 s), so that what the server knows reaches us.
    """

    contact_points: Sequence[str]
    port: int = 9042
    keyspace: str = "chat4all"
    replication_factor: int = 1
    datacenter: str | None = None
    username: str | None = None
    password: str | None = None
    request_timeout: float = 6.0
