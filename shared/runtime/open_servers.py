"""Which adapter stands behind which port in the modes `servers` and `knative` (design.md 2)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from shared.domain.errors import Unavailable
from shared.observability.log import log
from shared.ports import Ports
from shared.runtime import object_stores
from shared.runtime.choices import Choices, split
from shared.runtime.dependency import Check, Dependency
from shared.runtime.engines import Engines
from shared.runtime.later import later
from shared.runtime.opened import Opened, Waiting
from shared.runtime.wiring_error import WiringError

if TYPE_CHECKING:
    from shared.adapters.http.webhook_sender import HttpWebhookSender
    from shared.adapters.kafka.cluster import Cluster
    from shared.adapters.nats.fan_out import NatsFanOut
    from shared.adapters.redis.cache import RedisCache
    from shared.channels.registry import InstalledChannels
    from shared.ports.event_sink import EventSink
    from shared.runtime.subscriber import Subscriber
    from shared.runtime.trigger_runner import Pace, Runner
    from shared.runtime.wiring import Trigger

_ASK_AGAIN = 1.0
"""Seconds between two looks at a server that is not there at the start."""

_SAY_AGAIN = 15
"""Looks after which the log repeats what is waited for."""

SINK_PATIENCE = 15.0
"""
Seconds to wait for Knative's broker, longer than ours waits for Kafka (infra/overlays/production-knative).
As shipped that one waits for 120: it may take an event that was given up here, and gets it again, under the same id.
"""

_T = TypeVar("_T")


@asynccontextmanager
async def open_servers(
    engines: Engines,
    choices: Choices,
    *,
    folder: Path | None = None,
    k_sink: str | None = None,
    waiting: Waiting | None = None,
    emits: bool = True,
) -> AsyncIterator[Opened]:
    """
    Tables on Cassandra, events through Kafka, cache on Redis, fan-out on NATS.

    Cassandra and Kafka are waited for, for as long as it takes. Redis and NATS may come later: what they hold may
    be lost at any moment.

    Args:
        choices: the keys of the vault are the same in every process of an installation.
        folder: for files, where they are not in an S3.
        k_sink: the address of the broker's ingress; without it events go to Kafka itself.
        waiting: learns what is waited for at the start.
        emits: soon, so the sink connects while the rest is opened; otherwise with the first event.

    Raises:
        WiringError: the extra ``servers`` is not installed, or the tables that are there are of another schema.
    """
    try:
        from shared.adapters.cassandra.schema import SchemaMismatch
        from shared.adapters.cassandra.settings import CassandraSettings
        from shared.adapters.cassandra.tables import CassandraTables
        from shared.adapters.clamav.scanner import ClamavScanner
        from shared.adapters.kafka.cluster import Cluster
        from shared.adapters.kafka.event_log import KafkaEventLog
        from shared.adapters.local.clock import RandomIds, SystemClock
        from shared.adapters.local.hasher import Argon2Hasher
        from shared.adapters.local.scanner import NoScanner
        from shared.adapters.local.vault import FernetVault
        from shared.adapters.tables_outbox import OutboxSweeper, TablesOutbox
        from shared.repositories.schema import TABLES
    except ModuleNotFoundError as error:
        raise WiringError(
            f"the module {error.name!r} is not installed; the mode 'servers' needs the extra 'servers': "
            "pip install 'chat4all[servers]'"
        ) from error

    waiting = waiting or Waiting()
    settings = CassandraSettings(
        contact_points=split(engines.cassandra_contact_points),
        port=engines.cassandra_port,
        keyspace=engines.cassandra_keyspace,
        replication_factor=engines.cassandra_replication_factor,
        datacenter=engines.cassandra_datacenter,
        username=engines.cassandra_username,
        password=engines.cassandra_password,
    )
    cluster = Cluster(engines.kafka_bootstrap_servers, engines.kafka_properties)
    async with AsyncExitStack() as stack:
        sink, connect, broker = await _sink(cluster, engines, k_sink, stack)

        async def kafka() -> None:
            await _topic(cluster, engines, made_elsewhere=k_sink is not None)
            if emits:
                connect()  # once Kafka is there: a producer tells each second that it is not

        try:
            tables, _ = await asyncio.gather(
                _there("cassandra", lambda: CassandraTables.connect(settings, TABLES), waiting),
                _there("kafka", kafka, waiting),
            )
        except SchemaMismatch as error:
            raise WiringError(f"the tables in keyspace {settings.keyspace} do not fit this release: {error}") from error
        stack.push_async_callback(tables.close)
        event_log = KafkaEventLog(cluster, engines.kafka_topic)
        clock, ids = SystemClock(), RandomIds()
        cache = later(lambda: _cache(engines), lambda made: made.close(), stack)
        fan_out = later(lambda: _fan_out(engines), lambda made: made.close(), stack)
        objects = await stack.enter_async_context(object_stores.open_objects(folder, choices, clock))
        ports = Ports(
            clock=clock,
            ids=ids,
            tables=tables,
            outbox=TablesOutbox(tables, sink, clock, ids),
            sink=sink,
            log=event_log,
            cache=cache,
            fan_out=fan_out,
            vault=FernetVault(choices.keys),
            hasher=Argon2Hasher(),
            channels=later(lambda: _channels(choices), lambda made: made.close(), stack),
            sweeper=OutboxSweeper(tables, sink, clock, TABLES),
            webhooks=later(lambda: _webhooks(choices), lambda made: made.close(), stack),
            webhook_policy=choices.webhook_policy,
            objects=objects.store,
            scanner=ClamavScanner(choices.clamav) if choices.clamav else NoScanner(),
        )

        def runner(triggers: "Iterable[Trigger]", subscribers: "Mapping[str, Subscriber]", pace: "Pace") -> "Runner":
            from shared.adapters.kafka.consumer import KafkaConsumerGroups
            from shared.runtime.partition_runner import PartitionRunner

            groups = KafkaConsumerGroups(cluster, engines.kafka_topic, prefix=engines.kafka_group_prefix)
            return PartitionRunner(triggers, subscribers, groups, sink.append, pace=pace)

        yield Opened(
            ports,
            runner,
            dependencies={
                "cassandra": Dependency(_asking(tables.ping)),
                **broker,
                "redis": Dependency(_asking(lambda: cache.ping()), needed=False),
                "nats": Dependency(_asking(lambda: fan_out.ping()), needed=False),
                "objects": object_stores.dependency(objects),
            },
            serve_objects=objects.serve,
        )


def _cache(engines: Engines) -> "RedisCache":
    from shared.adapters.redis.cache import RedisCache

    return RedisCache(engines.redis_url)


def _fan_out(engines: Engines) -> "NatsFanOut":
    from shared.adapters.nats.fan_out import NatsFanOut

    return NatsFanOut(engines.nats_url)


def _channels(choices: Choices) -> "InstalledChannels":
    from shared.channels.registry import InstalledChannels, http_client

    return InstalledChannels(http_client(), allowed_hosts=choices.provider_hosts)


def _webhooks(choices: Choices) -> "HttpWebhookSender":
    from shared.adapters.http.webhook_sender import HttpWebhookSender

    return HttpWebhookSender(private_allowed=choices.private_webhooks)


async def _sink(
    cluster: "Cluster", engines: Engines, k_sink: str | None, stack: AsyncExitStack
) -> "tuple[EventSink, Callable[[], None], Mapping[str, Dependency]]":
    """Where events go, what begins to connect it, and that it is there."""
    if k_sink is None:
        from shared.adapters.kafka import topics
        from shared.adapters.kafka.event_sink import KafkaEventSink

        sink = KafkaEventSink(cluster, engines.kafka_topic)
        stack.push_async_callback(sink.close)
        return sink, sink.connect, {"kafka": Dependency(topics.Check(cluster, engines.kafka_topic))}
    import httpx

    from shared.adapters.http.event_sink import HttpEventSink

    client = await stack.enter_async_context(httpx.AsyncClient(timeout=httpx.Timeout(SINK_PATIENCE, connect=5.0)))
    ingress = HttpEventSink(k_sink, client)
    return ingress, lambda: None, {"broker": Dependency(_asking(ingress.ping))}


async def _topic(cluster: "Cluster", engines: Engines, *, made_elsewhere: bool) -> None:
    from shared.adapters.kafka import topics

    if made_elsewhere:
        return  # the broker of Knative owns its topic
    replicas = engines.kafka_replication_factor
    usable = await topics.ensure(
        cluster,
        topics.Topic(
            engines.kafka_topic,
            partitions=engines.kafka_partitions,
            replicas=replicas,
            in_sync=max(replicas - 1, 1),
        ),
    )
    if not usable:
        raise Unavailable(f"the topic {engines.kafka_topic} has no leader yet")


async def _there(name: str, attempt: Callable[[], Awaitable[_T]], waiting: Waiting) -> _T:
    """What the first attempt answers that does not find the server down."""
    tries = 0
    waiting.begin(name)
    while True:
        try:
            answer = await attempt()
        except Unavailable as error:
            waiting.still(name, error.detail)
            if tries % _SAY_AGAIN == 0:
                log.warning("waiting for a server", server=name, why=error.detail, tries=tries + 1)
            tries += 1
            await asyncio.sleep(_ASK_AGAIN)
            continue
        waiting.over(name)
        if tries:
            log.info("the server is there", server=name, tries=tries + 1)
        return answer


def _asking(ping: Callable[[], Awaitable[object]]) -> Check:
    async def check() -> str:
        await ping()
        return "answers"

    return check
