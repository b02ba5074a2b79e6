"""
The real engines that tests may use, where scripts/stack says they are.

A test that needs one is marked ``real(engine)``. Without the engine it is skipped; where CHAT4ALL_REAL_ENGINES is
"required" it fails. A test that installs, builds and starts servers of its own is marked ``engines``: it runs only
where CHAT4ALL_REAL_ENGINES is "required", so that nobody gets servers by running the tests.
"""

import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4  # noqa: TID251  offsets of an earlier run must not be found

from shared.adapters.cassandra.settings import CassandraSettings
from shared.adapters.cassandra.tables import CassandraTables
from shared.domain.errors import Unavailable
from shared.ports.tables import Table

if TYPE_CHECKING:
    from shared.adapters.kafka.cluster import Cluster
    from shared.adapters.nats.fan_out import NatsFanOut
    from shared.adapters.redis.cache import RedisCache
    from shared.adapters.s3.object_store import S3ObjectStore
    from shared.adapters.s3.settings import S3Settings

ADDRESSES = {
    "cassandra": "CHAT4ALL_CASSANDRA_CONTACT_POINTS",
    "kafka": "CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS",
    "redis": "CHAT4ALL_REDIS_URL",
    "nats": "CHAT4ALL_NATS_URL",
    "minio": "CHAT4ALL_MINIO_ENDPOINT",
    "versitygw": "CHAT4ALL_VERSITYGW_ENDPOINT",
}
"""The variable that says where an engine is, by engine."""

OTHERS = (
    "CHAT4ALL_CASSANDRA_PORT",
    "CHAT4ALL_CASSANDRA_REPLICATION_FACTOR",
    "CHAT4ALL_KAFKA_REPLICATION_FACTOR",
    "CHAT4ALL_MINIO_ENDPOINT",
    "CHAT4ALL_MINIO_ACCESS_KEY",
    "CHAT4ALL_MINIO_SECRET_KEY",
)
"""What else ``scripts/stack env`` says."""

_environment = os.environ  # noqa: TID251  tests are told by the environment what there is


def address(engine: str) -> str | None:
    """Where it is, as its variable has it; None when it is not there."""
    return _environment.get(ADDRESSES[engine])


def required() -> bool:
    return _environment.get("CHAT4ALL_REAL_ENGINES") == "required"


def deployed_url() -> str | None:
    """Where scripts/cluster has deployed the platform whose flows are to be tested, and no other."""
    return _environment.get("CHAT4ALL_DEPLOYED_URL")


def own_address(url: str | None = None) -> str:
    """
    The address of this machine that whoever is at ``url`` (default: the deployed platform, if there is one) can call
    back; nothing is sent.
    """
    parts = urlsplit(url or deployed_url() or "http://127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname or "", parts.port or 80))
        address: str = probe.getsockname()[0]
    return address


def deployed_environment() -> dict[str, str]:
    """What it stands on, as this process was told."""
    names = (*ADDRESSES.values(), *OTHERS, "CHAT4ALL_SECRET_KEY")
    return {**{name: _environment[name] for name in names if name in _environment}, "CHAT4ALL_MODE": "servers"}


def servers_environment() -> dict[str, str]:
    """A platform in the mode servers on these engines: tables and a topic that nobody has used."""
    run = uuid4().hex[:12]
    known = {name: _environment[name] for name in (*ADDRESSES.values(), *OTHERS) if name in _environment}
    fresh = {
        "CHAT4ALL_CASSANDRA_KEYSPACE": f"tests_{run}",
        "CHAT4ALL_KAFKA_TOPIC": f"tests-{run}",
        "CHAT4ALL_KAFKA_GROUP_PREFIX": f"tests-{run}-",
    }
    return {**known, **fresh, "CHAT4ALL_MODE": "servers"}


async def forget(environment: Mapping[str, str]) -> None:
    """What such a platform has left behind; every table costs Cassandra memory for as long as it is there."""
    from shared.adapters.cassandra.session import Session
    from shared.adapters.kafka import topics

    keyspace = environment.get("CHAT4ALL_CASSANDRA_KEYSPACE")
    if keyspace is None:
        return

    def drop(session: Any) -> None:
        session.execute(f'DROP KEYSPACE IF EXISTS "{keyspace}"', timeout=60)

    for chance in (1, 2, 3):
        try:
            session = await Session.connect(cassandra_settings(keyspace), drop)
        except Unavailable:  # a node that has just been worked hard
            if chance == 3:
                raise
        else:
            await session.close()
            break
    await topics.remove(kafka_cluster(), environment["CHAT4ALL_KAFKA_TOPIC"])


def cassandra_settings(keyspace: str) -> CassandraSettings:
    return CassandraSettings(
        contact_points=(address("cassandra") or "").split(","),
        port=int(_environment.get("CHAT4ALL_CASSANDRA_PORT", "9042")),
        replication_factor=int(_environment.get("CHAT4ALL_CASSANDRA_REPLICATION_FACTOR", "1")),
        keyspace=keyspace,
    )


@asynccontextmanager
async def cassandra_tables(keyspace: str, schema: Sequence[Table]) -> AsyncIterator[CassandraTables]:
    """Empty tables in a keyspace for tests, which is made by the first and kept."""
    from shared.adapters.cassandra.migration import Migration
    from shared.adapters.cassandra.session import Session

    settings = cassandra_settings(keyspace)

    def prepare(session: Any) -> None:
        Migration(session, keyspace, settings.replication_factor, schema).run()
        for table in schema:
            session.execute(f'TRUNCATE "{keyspace}"."{table.name}"', timeout=30)

    tables = CassandraTables(await Session.connect(settings, prepare), settings, schema)
    try:
        yield tables
    finally:
        await tables.close()


def kafka_cluster() -> "Cluster":
    from shared.adapters.kafka.cluster import Cluster

    return Cluster(address("kafka") or "")


@asynccontextmanager
async def kafka_topic(*, partitions: int) -> AsyncIterator[str]:
    """A topic that nobody has used; it goes again."""
    from shared.adapters.kafka import topics

    name = f"tests-{uuid4().hex[:12]}"
    await topics.ensure(kafka_cluster(), topics.Topic(name, partitions=partitions))
    try:
        yield name
    finally:
        await topics.remove(kafka_cluster(), name)


@asynccontextmanager
async def redis_cache(**options: Any) -> AsyncIterator["RedisCache"]:
    """An empty one: whatever was in it is gone."""
    from redis.asyncio import Redis

    from shared.adapters.redis.cache import RedisCache

    url = address("redis") or ""
    async with Redis.from_url(url) as redis:
        await redis.flushall()
    cache = RedisCache(url, **options)
    try:
        yield cache
    finally:
        await cache.close()


@asynccontextmanager
async def nats_fan_out(**options: Any) -> AsyncIterator["NatsFanOut"]:
    """Connected already."""
    from shared.adapters.nats.fan_out import NatsFanOut

    fan_out = NatsFanOut(address("nats") or "", **options)
    await fan_out.start()
    try:
        await fan_out.connected()
        yield fan_out
    finally:
        await fan_out.close()


def s3_settings(engine: str, **more: Any) -> "S3Settings":
    """``engine``: minio or versitygw."""
    from shared.adapters.s3.settings import S3Settings

    prefix = ADDRESSES[engine].removesuffix("ENDPOINT")
    given = {
        "endpoint": address(engine),
        "access_key": _environment.get(f"{prefix}ACCESS_KEY"),
        "secret_key": _environment.get(f"{prefix}SECRET_KEY"),
        "bucket": "chat4all-tests",
    }
    return S3Settings(**(given | more))


@asynccontextmanager
async def s3_object_store(engine: str, **more: Any) -> AsyncIterator["S3ObjectStore"]:
    """In a bucket for tests, which is made by the first and kept."""
    from shared.adapters.s3.object_store import S3ObjectStore

    store = S3ObjectStore(s3_settings(engine, **more))
    try:
        yield store
    finally:
        await store.close()
