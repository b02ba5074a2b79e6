"""Triggers over a real Kafka: the observed broker, sections 2 to 6, where the log itself matters (E1, E5, E6, E7)."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from events import CloudEvent
from shared.adapters.kafka import topics
from shared.adapters.kafka.cluster import Cluster
from shared.adapters.kafka.consumer import KafkaConsumerGroups
from shared.adapters.kafka.topics import Topic
from shared.runtime.partition_runner import PartitionRunner
from shared.runtime.subscriber import Answer
from shared.runtime.trigger_runner import Pace
from shared.runtime.wiring import Delivery, Trigger
from shared.testing.contracts.record_log import cloudevent
from shared.testing.scripted import Scripted, Slow, local

pytestmark = pytest.mark.real("kafka")

TYPE = cloudevent("1").attributes["type"]
RETRY = Delivery(retry=2, delay=0.05, timeout=5.0, dead_letter="sink")


@pytest.fixture
def group(topic):
    """The group of ``trigger()``'s service."""
    return f"{topic}-{trigger().service_group}"


@pytest.fixture
async def start(groups, sink):
    running = []

    async def start(*triggers, pace=None, drain=5.0, **functions):
        triggers = triggers or [trigger()]
        subscribers = local({"sink": Scripted(), **functions})
        runner = PartitionRunner(triggers, subscribers, groups, sink.append, pace=pace, drain=drain)
        running.append(runner)
        await runner.start()
        return runner

    yield start
    for runner in running:
        await runner.stop(grace=0)


@pytest.fixture
async def worker(cluster, topic):
    workers = []

    async def start(calls=100, seconds=0.0):
        made = await Worker.start(cluster, topic, calls, seconds)
        workers.append(made)
        return made

    yield start
    for one in workers:
        await one.kill()


class Worker:
    """worker.py as a process, and the ids that it has said."""

    @classmethod
    async def start(cls, cluster, topic, calls, seconds):
        self = cls()
        self.ids = []
        root = Path(__file__).parents[2]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("worker.py")),
            cluster.servers,
            topic,
            str(calls),
            str(seconds),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(root)},  # noqa: TID251  a process of its own
        )
        assert (await self.process.stdout.readline()).strip() == b"ready"
        self.reading = asyncio.create_task(self._read())
        return self

    async def _read(self):
        while line := await self.process.stdout.readline():
            self.ids.append(line.decode().strip())

    async def kill(self):
        await self._end(signal.SIGKILL)

    async def terminate(self):
        await self._end(signal.SIGTERM)

    async def _end(self, number):
        if self.process.returncode is None:
            self.process.send_signal(number)
        await self.process.wait()
        await self.reading


def trigger(name="t", service="f", delivery=RETRY, **attributes):
    return Trigger(name, "chat4all", {"type": TYPE, **attributes}, service, delivery)


def some(count, start=0, keys=20):
    return [cloudevent(str(n), partitionkey=f"c{n % keys}") for n in range(start, start + count)]


def numbers(count, start=0):
    return {str(n) for n in range(start, start + count)}


async def test_every_event_is_called_once_and_all_is_committed(start, sink, group, committed, until):
    function = Scripted()
    runner = await start(f=function)
    await sink.append(*some(1000))
    await until(lambda: len(function.calls) >= 1000)
    assert sorted(function.ids) == sorted(numbers(1000))
    await until(lambda: committed_is(committed, group, 1000))
    assert runner.alive() == (True, "alive")


async def committed_is(committed, name, count):
    return await committed(name) == count


async def test_a_call_carries_what_the_observed_broker_sends(start, sink, until):
    function = Scripted()
    await start(f=function)
    await sink.append(cloudevent("1", partitionkey="c1", tenant="açaí"))
    await until(lambda: function.calls)
    headers = dict(function.calls[0].headers)
    assert headers.pop("ce-knativekafkapartition") in {"0", "1", "2", "3"}
    assert headers == {
        "content-type": "application/json",
        "content-length": "8",
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/tests",
        "ce-type": TYPE,
        "ce-partitionkey": "c1",
        "ce-tenant": "a%C3%A7a%C3%AD",
        "ce-knativekafkaoffset": "0",
        "prefer": "reply",
        "kn-namespace": "chat4all",
    }


async def test_a_record_that_is_no_event_is_skipped_and_its_followers_are_delivered(
    start, sink, cluster, topic, group, committed, until
):
    function = Scripted()
    await start(f=function)
    structured = cloudevent("structured").to_structured()
    foreign = [
        ([], b"hello"),
        ([("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_type", TYPE.encode())], b"no source"),
        ([("ce_specversion", b"9.9"), ("ce_id", b"1"), ("ce_type", TYPE.encode()), ("ce_source", b"/x")], b""),
        ([("content-type", b"application/cloudevents+json")], b"{broken"),
        ([("ce_specversion", b"1.0"), ("ce_id", b"\xff"), ("ce_type", TYPE.encode()), ("ce_source", b"/x")], b""),
        ([("content-type", b"application/cloudevents+json")], structured),
        ([("ce_specversion", None)], None),
    ]
    producer = Producer(cluster.settings())
    for headers, value in foreign:
        producer.produce(topic, value, headers=headers, partition=0)
    await asyncio.to_thread(producer.flush, 10)
    await sink.append(cloudevent("after"))
    await until(lambda: len(function.calls) >= 2)
    assert set(function.ids) == {"structured", "after"}
    await until(lambda: committed_is(committed, group, len(foreign) + 1))


async def test_a_refused_event_goes_to_the_sink_and_is_committed(start, sink, group, committed, until):
    dead = Scripted()
    await start(f=Scripted(Answer(422)), sink=dead)
    await sink.append(cloudevent("1"))
    await until(lambda: dead.calls)
    assert dead.calls[0].headers["ce-knativeerrorcode"] == "422"
    await until(lambda: committed_is(committed, group, 1))


async def test_an_event_is_tried_again_and_then_dead(start, sink, until):
    function, dead = Scripted(Answer(503)), Scripted()
    await start(f=function, sink=dead)
    await sink.append(cloudevent("1"))
    await until(lambda: dead.calls)
    assert function.ids == ["1", "1", "1"]


async def test_a_reply_goes_through_the_broker_to_whom_it_concerns(start, sink, until):
    reply = CloudEvent({**cloudevent("reply").attributes, "type": "chat4all.tests.replied.v1"}, b"{}")
    headers, body = reply.to_binary()
    asking, answered = Scripted(Answer(200, headers, body)), Scripted()
    replied = Trigger("replied", "chat4all", {"type": "chat4all.tests.replied.v1"}, "g", RETRY)
    await start(trigger("asking"), replied, f=asking, g=answered)
    await sink.append(cloudevent("1"))
    await until(lambda: answered.calls)
    came = answered.calls[0].event
    assert reply.attributes.items() <= came.attributes.items()
    assert came.data == reply.data


async def test_a_new_group_begins_at_the_end_and_goes_on_where_it_was(start, sink, until):
    function = Scripted()
    await sink.append(*some(20))
    runner = await start(f=function)
    await runner.stop()
    await sink.append(*some(20, start=20))
    again = await start(f=function)
    await until(lambda: len(function.calls) >= 20)
    await again.stop()
    assert sorted(function.ids) == sorted(numbers(20, start=20))


async def test_only_the_gap_free_prefix_is_committed(start, sink, group, committed, until):
    function = Scripted(Answer(204), Slow(4.0), Answer(204))
    runner = await start(f=function, pace=Pace(commit_every=0.1))
    await sink.append(*(cloudevent(str(n)) for n in range(5)))
    await until(lambda: committed_is(committed, group, 1))
    await until(lambda: len(function.calls) >= 5)
    [standing] = runner.standings()
    assert standing.in_flight == 1
    assert await committed(group) == 1
    await until(lambda: committed_is(committed, group, 5))


async def test_a_stop_lets_calls_end_and_commits_them(start, sink, group, committed, until):
    function = Scripted(Slow(0.5))
    runner = await start(f=function)
    await sink.append(cloudevent("1"))
    await until(lambda: function.calls)
    await runner.stop(grace=5)
    assert (function.cut, await committed(group)) == (0, 1)


async def test_a_slow_function_is_given_no_more_than_it_can_take(start, sink, until):
    """Events wait in Kafka: neither in our memory nor past the member's heartbeat."""
    function = Scripted(Slow(0.02))
    runner = await start(f=function, pace=Pace(calls=20, unfinished=50))
    await sink.append(*some(4000))
    await until(lambda: len(function.calls) >= 100)
    assert runner.standings()[0].in_flight <= 50
    await until(lambda: len(function.calls) >= 4000)
    assert sorted(function.ids) == sorted(numbers(4000))
    assert function.most_at_once == 20


async def test_a_function_that_stands_still_does_not_lose_its_share(start, sink, group, committed, until):
    function = Scripted(Slow(3.5))
    await start(f=function, pace=Pace(calls=1, unfinished=1))
    await sink.append(*some(3, keys=1))
    await until(lambda: committed_is(committed, group, 3))
    assert function.ids == ["0", "1", "2"]


async def test_what_a_killed_process_had_begun_is_done_by_the_next(worker, sink, until):
    first = await worker(calls=5, seconds=0.05)
    await sink.append(*some(200))
    await until(lambda: len(first.ids) >= 40)
    await first.kill()
    second = await worker()
    await until(lambda: set(first.ids) | set(second.ids) >= numbers(200))


async def test_the_events_of_a_killed_process_go_to_its_neighbour_within_five_seconds(worker, sink, until):
    first, second = await worker(), await worker()
    await sink.append(*some(100))
    await until(lambda: len(first.ids) + len(second.ids) >= 100)
    assert first.ids and second.ids
    await first.kill()
    await sink.append(*some(100, start=100))
    await until(lambda: set(second.ids) >= numbers(100, start=100), within=5.0)


async def test_processes_come_and_go_while_events_flow_and_none_is_lost(worker, sink, until):
    """They join, leave and are killed; what left in peace has left nothing to be done twice."""
    count, flowing = 0, True

    async def flow():
        nonlocal count
        while flowing:
            await sink.append(*some(20, start=count))
            count += 20
            await asyncio.sleep(0.02)

    workers = [await worker()]
    source = asyncio.create_task(flow())
    for _ in range(2):
        workers.append(await worker())
        await until(lambda: workers[-1].ids)
    await workers[0].terminate()
    workers.append(await worker())
    await until(lambda: workers[-1].ids)
    done = [identifier for one in workers for identifier in one.ids]
    assert len(done) == len(set(done))
    await workers[1].kill()
    flowing = False
    await source
    await until(lambda: {identifier for one in workers for identifier in one.ids} >= numbers(count))


async def test_partitions_are_added_while_events_flow_and_none_is_lost(start, sink, cluster, topic, until):
    function = Scripted()
    await start(f=function)
    keys = [f"c{random.Random(n).random()}" for n in range(2000)]
    for n in range(0, 1000, 20):
        await sink.append(*(cloudevent(str(i), partitionkey=keys[i]) for i in range(n, n + 20)))
    assert await topics.ensure(cluster, Topic(topic, partitions=12)) == 12
    n = 1000
    partitions = set()

    async def more():
        nonlocal n
        await sink.append(*(cloudevent(str(i), partitionkey=keys[i % 2000]) for i in range(n, n + 20)))
        n += 20
        partitions.update(call.headers["ce-knativekafkapartition"] for call in function.calls)
        return len(partitions) == 12

    await until(more, within=60)
    await until(lambda: len(function.calls) >= n)
    assert sorted(function.ids) == sorted(numbers(n))


async def test_a_start_waits_for_a_kafka_that_is_down_and_can_be_called_off():
    function = Scripted()
    groups = KafkaConsumerGroups(Cluster("127.0.0.1:1"), "nowhere")
    runner = PartitionRunner([trigger("t")], local({"f": function, "sink": Scripted()}), groups, None)
    starting = asyncio.create_task(runner.start())
    done, _ = await asyncio.wait([starting], timeout=1.0)
    assert not done
    starting.cancel()
    await runner.stop()
