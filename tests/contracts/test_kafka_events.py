"""The contracts of EventSink and EventLog on a real Kafka (E1, E9), and the form of the records (B3)."""

import asyncio
import os
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from events import CloudEvent
from shared.adapters.kafka import topics
from shared.adapters.kafka.binding import to_headers
from shared.adapters.kafka.cluster import Cluster
from shared.adapters.kafka.event_log import KafkaEventLog, appended_at
from shared.adapters.kafka.event_sink import KafkaEventSink
from shared.adapters.kafka.topics import Topic
from shared.domain.errors import TooLarge, Unavailable
from shared.testing import real_engines
from shared.testing.contracts.event_log import EventLogContract
from shared.testing.contracts.event_sink import EventSinkContract
from shared.testing.contracts.record_log import cloudevent
from shared.testing.memory import Memory

_LONG = 60_000
"""Events of a log that is long: readers that kept what they had seen grew by 300 MiB."""

pytestmark = pytest.mark.real("kafka")


@pytest.fixture
def cluster():
    return real_engines.kafka_cluster()


@pytest.fixture
async def topic():
    async with real_engines.kafka_topic(partitions=3) as name:
        yield name


@pytest.fixture
async def sink(cluster, topic):
    sink = KafkaEventSink(cluster, topic)
    yield sink
    await sink.close()


@pytest.fixture
def log(cluster, topic):
    log = KafkaEventLog(cluster, topic)
    yield log
    log.close()


@pytest.fixture
async def long_topic():
    async with real_engines.kafka_topic(partitions=60) as name:
        yield name


class TestEventSink(EventSinkContract):
    @pytest.fixture
    async def sink(self, cluster, topic):
        sink = KafkaEventSink(cluster, topic)
        yield sink
        await sink.close()

    @pytest.fixture
    def delivered(self, log):
        async def read():
            return [one.event for one in await log.read(after=0, limit=10_000)]

        return read


class TestEventLog(EventLogContract):
    @pytest.fixture
    def log(self, cluster, topic):
        log = KafkaEventLog(cluster, topic)
        yield log
        log.close()

    @pytest.fixture
    def emit(self, sink):
        return sink.emit


def _records(cluster, topic, count):
    settings = {**cluster.settings(), "group.id": "tests", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(3)])
    found = []
    while len(found) < count:
        found += consumer.consume(count - len(found), 10)
    consumer.close()
    return found


async def test_a_record_is_what_the_real_broker_would_have_written(cluster, topic, sink):
    await sink.append(cloudevent("1", partitionkey="conversa/ção 🙂", tenant="açaí"))
    (record,) = await asyncio.to_thread(_records, cluster, topic, 1)
    assert record.key() == "conversa/ção 🙂".encode()
    assert record.value() == b'{"n": 1}'
    assert dict(record.headers()) == {
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_source": b"/tests",
        "ce_type": b"chat4all.tests.happened.v1",
        "content-type": b"application/json",
        "ce_partitionkey": "conversa/ção 🙂".encode(),
        "ce_tenant": "açaí".encode(),
    }


async def test_a_key_is_in_the_partition_where_a_client_in_java_would_put_it(cluster, topic, sink):
    await sink.append(*(cloudevent(str(n), partitionkey=f"c{n}") for n in range(4)))
    records = await asyncio.to_thread(_records, cluster, topic, 4)
    # org.apache.kafka.common.utils.Utils: toPositive(murmur2(key)) % 3
    assert {record.key().decode(): record.partition() for record in records} == {
        f"c{n}": (_murmur2(f"c{n}".encode()) & 0x7FFFFFFF) % 3 for n in range(4)
    }


async def test_an_event_without_key_and_data_has_neither(cluster, topic, sink):
    attributes = {name: value for name, value in cloudevent("1").attributes.items() if name != "partitionkey"}
    await sink.append(CloudEvent(attributes, b""))
    (record,) = await asyncio.to_thread(_records, cluster, topic, 1)
    assert (record.key(), record.value()) == (None, None)


async def test_an_offset_says_when_kafka_had_the_event(log, sink):
    before = time.time()  # noqa: TID251  Kafka's own clock is this machine's
    await sink.append(cloudevent("1"), cloudevent("2"))
    after = time.time()  # noqa: TID251
    for one in await log.latest(2):
        assert before - 0.001 <= appended_at(one.offset) <= after


async def test_an_event_above_a_mebibyte_is_refused_and_harms_no_other(log, sink):
    with pytest.raises(TooLarge):
        await sink.append(CloudEvent(cloudevent("big").attributes, b"x" * 2_000_000))
    await sink.append(cloudevent("small"))
    assert [one.event.attributes["id"] for one in await log.latest(5)] == ["small"]


async def test_events_go_by_the_connection_that_was_begun_before_them(log, sink):
    sink.connect()
    begun = sink._producer
    sink.connect()
    await sink.append(cloudevent("first"))
    assert sink._producer is begun
    assert [one.event.attributes["id"] for one in await log.latest(5)] == ["first"]


async def test_a_kafka_that_is_not_there_is_unavailable_within_the_timeout():
    sink = KafkaEventSink(Cluster("127.0.0.1:1"), "nowhere", delivery_timeout=1.0)
    with pytest.raises(Unavailable):
        await sink.append(cloudevent("1"))
    await sink.close(grace=0)


async def test_a_topic_is_made_once_and_gets_the_partitions_it_lacks(cluster, topic):
    await topics.remove(cluster, topic)
    made = await asyncio.gather(*(topics.ensure(cluster, Topic(topic, partitions=2)) for _ in range(3)))
    assert made == [2, 2, 2]
    assert await topics.ensure(cluster, Topic(topic, partitions=5)) == 5
    assert await topics.ensure(cluster, Topic(topic, partitions=3)) == 5


async def test_events_of_many_partitions_have_one_order_page_by_page(log, sink):
    for start in range(0, 300, 30):
        await sink.append(*(cloudevent(str(n), partitionkey=f"c{n}") for n in range(start, start + 30)))
    whole = await log.read(after=0, limit=1000)
    pages, after = [], 0
    while page := await log.read(after=after, limit=37):
        pages += page
        after = page[-1].offset
    assert pages == list(whole)
    assert {one.event.attributes["id"] for one in whole} == {str(n) for n in range(300)}
    assert list(await log.latest(50)) == list(whole)[-50:]


async def test_a_log_longer_than_a_pods_memory_is_read_by_many_at_once(cluster, long_topic):
    """knative/ gives ``events`` 256 MiB, of which a hundred are its own (cluster-run.md)."""
    topic, log = long_topic, KafkaEventLog(cluster, long_topic)
    producer = Producer(cluster.settings())
    for n in range(_LONG):
        attributes = cloudevent(str(n)).attributes | {"traceparent": f"00-{n:032x}-{'1' * 16}-01"}
        producer.produce(topic, b"x" * 1000, f"c{n % 100}", headers=to_headers(CloudEvent(attributes, b"")))
        if n % 10_000 == 0:
            await asyncio.to_thread(producer.flush)
    await asyncio.to_thread(producer.flush)

    with Memory() as memory:
        memory.watch("readers", os.getpid())
        oldest = await asyncio.gather(*(log.read(after=0, limit=200) for _ in range(8)))
        found = await asyncio.gather(*(log.of_trace(f"{n:032x}", limit=50) for n in range(_LONG - 8, _LONG)))
        nobodys = await asyncio.gather(*(log.latest(50, tenant="nobody") for _ in range(8)))

    log.close()
    assert oldest == [oldest[0]] * 8
    assert len({one.event.attributes["id"] for one in oldest[0]}) == 200
    assert max(int(one.event.attributes["id"]) for one in oldest[0]) < _LONG // 2
    assert [[one.event.attributes["id"] for one in page] for page in found] == [
        [f"{_LONG - n}"] for n in range(8, 0, -1)
    ]
    assert [len(page) for page in nobodys] == [0] * 8
    assert memory.watched["readers"].growth < 120


def _murmur2(data):
    """Kafka's hash of keys."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    for i in range(0, len(data) - len(data) % 4, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    tail = data[len(data) - len(data) % 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
