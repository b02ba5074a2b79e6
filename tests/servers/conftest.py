"""A topic of its own for each test, and what a group has committed of it."""

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from shared.adapters.kafka.consumer import KafkaConsumerGroups
from shared.adapters.kafka.event_sink import KafkaEventSink
from shared.testing import real_engines

PARTITIONS = 4


@pytest.fixture
def cluster():
    return real_engines.kafka_cluster()


@pytest.fixture
async def topic():
    async with real_engines.kafka_topic(partitions=PARTITIONS) as name:
        yield name


@pytest.fixture
async def sink(cluster, topic):
    sink = KafkaEventSink(cluster, topic)
    yield sink
    await sink.close()


@pytest.fixture
def groups(cluster, topic):
    """Groups live in the whole cluster: of its own for each test."""
    return KafkaConsumerGroups(cluster, topic, prefix=f"{topic}-")


@pytest.fixture
def committed(cluster, topic):
    """Events that the group has put behind it: the sum of its offsets over the partitions."""
    admin = AdminClient(cluster.settings())

    async def committed(group: str) -> int:
        wanted = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, n) for n in range(16)])]

        def ask() -> int:
            answer = admin.list_consumer_group_offsets(wanted)[group].result()
            return sum(max(one.offset, 0) for one in answer.topic_partitions)

        return await asyncio.to_thread(ask)

    return committed


@pytest.fixture
def until():
    """Wait for something to come true, at most half a minute."""

    async def until(true: Callable[[], object], within: float = 30.0) -> None:
        async with asyncio.timeout(within):
            while True:
                found = true()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.01)

    return until
