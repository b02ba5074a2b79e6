"""The broker's topic: made with what it needs, given more partitions while events flow (E7)."""

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic, sleep

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]

from shared.adapters.kafka.cluster import Cluster, code, reason
from shared.domain.errors import Unavailable

_WITHIN = 15.0
_ANSWER = 3.0


@dataclass(frozen=True, slots=True)
class Topic:
    """
    ``partitions`` bound how many processes share one service. ``replicas`` 3 with ``in_sync`` 2 survive the loss of
    a node. ``retention`` in seconds: how far anybody can look back, and how long a service may stand still.
    """

    name: str
    partitions: int = 12
    replicas: int = 1
    in_sync: int = 1
    retention: int = 7 * 24 * 3600


async def ensure(cluster: Cluster, topic: Topic) -> int:
    """
    Make the topic, or give it the partitions that it lacks; how many can be used now. It never loses any.

    Raises:
        Unavailable: Kafka cannot be reached, or has not enough nodes for the replicas.
    """
    return await asyncio.to_thread(_ensure, cluster, topic)


def _ensure(cluster: Cluster, topic: Topic) -> int:
    admin = AdminClient(cluster.settings())
    wanted = NewTopic(
        topic.name,
        num_partitions=topic.partitions,
        replication_factor=topic.replicas,
        config={
            "cleanup.policy": "delete",
            "retention.ms": str(topic.retention * 1000),
            "min.insync.replicas": str(topic.in_sync),
            # The clock of the one node that leads a partition: looking back goes by it.
            "message.timestamp.type": "LogAppendTime",
        },
    )
    made = admin.create_topics([wanted], request_timeout=_WITHIN, operation_timeout=_WITHIN)
    if not _done(cluster, made, unless=KafkaError.TOPIC_ALREADY_EXISTS):
        has = _led(cluster, admin, topic.name)
        if has >= topic.partitions:
            return has
        more = NewPartitions(topic.name, topic.partitions)
        # Somebody else may have added them meanwhile: then the count is invalid, and right.
        added = admin.create_partitions([more], request_timeout=_WITHIN, operation_timeout=_WITHIN)
        _done(cluster, added, unless=KafkaError.INVALID_PARTITIONS)
    deadline = monotonic() + _WITHIN
    while (has := _led(cluster, admin, topic.name)) < topic.partitions and monotonic() < deadline:
        sleep(0.05)
    return has


def _led(cluster: Cluster, admin: AdminClient, name: str) -> int:
    """How many partitions of the topic have a leader: what was made a moment ago may not be known everywhere."""
    try:
        found = admin.list_topics(name, timeout=_WITHIN).topics.get(name)
    except KafkaException as error:
        raise Unavailable(_silence(cluster, error)) from error
    if found is None or found.error is not None:
        return 0
    return sum(one.error is None and one.leader >= 0 for one in found.partitions.values())


class Check:
    """Whether the topic can be used, for readiness. The client is kept: connecting costs more than the question."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._admin = AdminClient(cluster.settings())
        self._name = name

    async def __call__(self) -> str:
        """
        Raises:
            Unavailable: Kafka does not answer, or a partition of the topic has no leader.
        """
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> str:
        try:
            found = self._admin.list_topics(self._name, timeout=_ANSWER).topics[self._name]
        except KafkaException as error:
            raise Unavailable(_silence(self._cluster, error)) from error
        led = sum(one.error is None and one.leader >= 0 for one in found.partitions.values())
        if found.error is not None or led < len(found.partitions):
            raise Unavailable(f"{len(found.partitions) - led} of {len(found.partitions)} partitions have no leader")
        return f"{led} partitions"


async def remove(cluster: Cluster, name: str) -> None:
    """Delete the topic with all its events; none is no error."""

    def delete() -> None:
        admin = AdminClient(cluster.settings())
        _done(cluster, admin.delete_topics([name], request_timeout=_WITHIN), unless=KafkaError.UNKNOWN_TOPIC_OR_PART)

    await asyncio.to_thread(delete)


def _done(cluster: Cluster, answers: "dict[str, Future[None]]", *, unless: int) -> bool:
    """Whether it was done now; False: Kafka says ``unless``, it was so already."""
    for answer in answers.values():
        try:
            answer.result()
        except KafkaException as error:
            if code(error) == unless:
                return False
            if code(error) < 0:  # the library's own: nobody was asked, or nobody answered
                raise Unavailable(_silence(cluster, error)) from error
            raise Unavailable(f"Kafka does not change the topic: {reason(error)}") from error
    return True


def _silence(cluster: Cluster, error: KafkaException) -> str:
    return f"Kafka at {cluster.servers} does not answer: {reason(error)}"
