"""What is done to the events between the functions: said again, begun again, mixed with poison, spread wider."""

import asyncio
import json
import threading
from collections.abc import Sequence
from random import Random
from time import monotonic
from typing import cast

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from shared.adapters.kafka import topics
from shared.adapters.kafka.binding import RecordHeaders, from_record
from shared.adapters.kafka.cluster import Cluster
from shared.runtime.engines import Engines

_WITHIN = 15.0


class Echo:
    """
    Says every new event twice more: once within two seconds, so that they come out of order, and once up to
    ``late`` seconds later. ``start`` and ``stop``, which waits until all was said.
    """

    def __init__(self, engines: Engines, *, late: float) -> None:
        self._engines, self._late = engines, late
        self._stopping = threading.Event()
        self._reading = threading.Event()
        self._thread = threading.Thread(target=self._run, name="echo", daemon=True)
        self.said = 0

    async def start(self) -> None:
        self._thread.start()
        await asyncio.to_thread(self._reading.wait, _WITHIN)

    async def stop(self) -> None:
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        cluster = Cluster(self._engines.kafka_bootstrap_servers)
        topic = self._engines.kafka_topic
        consumer = Consumer(cluster.settings(group_id=f"{topic}-echo", enable_auto_commit=False))
        producer = Producer(cluster.settings(enable_idempotence=True))
        partitions = consumer.list_topics(topic, timeout=_WITHIN).topics[topic].partitions
        ends = [
            TopicPartition(topic, number, consumer.get_watermark_offsets(TopicPartition(topic, number), _WITHIN)[1])
            for number in partitions
        ]
        consumer.assign(ends)
        self._reading.set()
        random, seen = Random(4), set[tuple[str, str]]()
        due: list[tuple[float, Message]] = []
        while not self._stopping.is_set() or due:
            message = consumer.poll(0.05)
            if message is not None and message.error() is None and not self._stopping.is_set():
                event = from_record(cast(RecordHeaders | None, message.headers()), message.value())
                known = event.attributes["id"], event.attributes["type"]
                if known not in seen:
                    seen.add(known)
                    due += [
                        (monotonic() + random.uniform(0, 2), message),
                        (monotonic() + random.uniform(0, self._late), message),
                    ]
            for at, one in [pair for pair in due if pair[0] <= monotonic()]:
                due.remove((at, one))
                producer.produce(topic, one.value(), one.key(), headers=one.headers())
                self.said += 1
            producer.poll(0)
        producer.flush(_WITHIN)
        consumer.close()


async def begin_again(engines: Engines) -> int:
    """Every group goes back to the oldest event; how many groups. They must have no members."""

    def reset() -> int:
        admin = AdminClient(Cluster(engines.kafka_bootstrap_servers).settings())
        listed = admin.list_consumer_groups(request_timeout=_WITHIN).result()
        groups = [one.group_id for one in listed.valid if one.group_id.startswith(engines.kafka_group_prefix)]
        numbers = admin.list_topics(engines.kafka_topic, timeout=_WITHIN).topics[engines.kafka_topic].partitions
        for group in groups:
            oldest = [TopicPartition(engines.kafka_topic, number, 0) for number in numbers]
            wanted = ConsumerGroupTopicPartitions(group, oldest)
            for answer in admin.alter_consumer_group_offsets([wanted], request_timeout=_WITHIN).values():
                answer.result()
        return len(groups)

    return await asyncio.to_thread(reset)


async def partitions(engines: Engines) -> int:
    """How many the topic has."""

    def count() -> int:
        admin = AdminClient(Cluster(engines.kafka_bootstrap_servers).settings())
        return len(admin.list_topics(engines.kafka_topic, timeout=_WITHIN).topics[engines.kafka_topic].partitions)

    return await asyncio.to_thread(count)


async def spread(engines: Engines, partitions: int) -> None:
    """The topic gets more partitions while events flow."""
    replicas = engines.kafka_replication_factor
    wanted = topics.Topic(engines.kafka_topic, partitions, replicas, max(replicas - 1, 1))
    await topics.ensure(Cluster(engines.kafka_bootstrap_servers), wanted)


def _headers(tenant: str, kind: str, number: int, **more: str) -> list[tuple[str, str | bytes | None]]:
    attributes = {"specversion": "1.0", "id": f"poison-{number}", "source": "/poison", "type": kind, "tenant": tenant}
    named = {f"ce_{name}": value for name, value in {**attributes, **more}.items()}
    return [("content-type", b"application/json"), *((name, value.encode()) for name, value in named.items())]


async def poison(engines: Engines, tenants: Sequence[str]) -> int:
    """Records that no function of ours has written; how many."""
    accepted, requested = "chat4all.message.accepted.v1", "chat4all.delivery.requested.v1"
    deep = b"[" * 100_000 + b"]" * 100_000
    bodies: list[bytes] = [
        b"",
        b"{",
        b"\xff\xfe not UTF-8 \xc3\x28",
        b'{"text": "\\ud800"}',
        json.dumps({"text": "x" * 900_000}).encode(),
        json.dumps({"unknown": {"field": 1}, "message_id": 17, "seq": "many"}).encode(),
        deep,
        b"null",
        b"1e999",
    ]

    def produce() -> int:
        producer = Producer(Cluster(engines.kafka_bootstrap_servers).settings())
        count = 0
        for tenant in tenants:
            for body in bodies:
                for kind, more in ((accepted, {"routing": "needed"}), (requested, {"channel": "whatsapp"})):
                    for key in (None, b"a key"):  # without partitionkey it goes anywhere
                        count += 1
                        producer.produce(engines.kafka_topic, body, key, headers=_headers(tenant, kind, count, **more))
            producer.produce(engines.kafka_topic, b"no CloudEvent at all", b"k")
            producer.produce(engines.kafka_topic, b"\x00\x01", None, headers=[("ce_type", b"\xff\xff")])
            producer.produce(
                engines.kafka_topic,
                b'{"specversion": 3',
                None,
                headers=[("content-type", b"application/cloudevents+json")],
            )
            count += 3
        producer.flush(_WITHIN)
        return count

    return await asyncio.to_thread(produce)
