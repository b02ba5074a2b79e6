"""
One order of many partitions: whatever order Kafka hands its partitions on in, whatever is written meanwhile and however
long its copies take (less than SETTLE), who follows gets every event once and in order, and who looks back gets the
newest, with the positions by which the others go on (E9).

What it catches, tried by planting each: going on although a partition that is behind may have older ones, or records of
the same moment; no wait at the end; a partition paused too early; the end of a partition asked for only after the look
for a moment; ranks of moments that were seen in part; an event of the position's own moment told again, or pushed out
by later ones; the tail of the log taken by partitions; a look back that stops short of what its own moment hides, or
goes on beyond what was written when it began; waiting for less than nothing; a page that is not full with what is not
certain yet.
"""

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from math import inf
from random import Random

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from events import CloudEvent
from shared.adapters.kafka import log_reader
from shared.adapters.kafka.binding import to_headers
from shared.adapters.kafka.log_reader import EPOCH, SETTLE, LogReader, everything, moment_of
from shared.testing.contracts.record_log import cloudevent

_FROM = EPOCH + 1_000_000
_SLOWEST = SETTLE // 2
"""Milliseconds until the copies of a record are there, at most."""


class Record:
    def __init__(self, moment, partition, offset, visible, event):
        self.key, self.visible, self.event = (moment, partition, offset), visible, event

    partition = property(lambda self: lambda: self.key[1])
    offset = property(lambda self: lambda: self.key[2])

    def error(self):
        return None

    def timestamp(self):
        return TIMESTAMP_LOG_APPEND_TIME, self.key[0]

    def headers(self):
        return to_headers(self.event)

    def value(self):
        return self.event.data


class End:
    """Kafka's word that a reader is at the end of a partition."""

    def __init__(self, partition):
        self.partition = lambda: partition

    def offset(self):
        return 0

    def error(self):
        return self

    def code(self):
        return KafkaError._PARTITION_EOF


class Topic:
    """
    What is written when, in milliseconds; ``now`` moves as somebody waits. Retention has taken ``low`` records of each.
    """

    def __init__(self, partitions, written, random, low=0):
        self.now = float(_FROM)
        self.low = low
        self.partitions = [[] for _ in range(partitions)]
        moment = _FROM
        for n, (pause, partition, tenant) in enumerate(written):
            moment += pause
            self._write(n, moment, partition % partitions, tenant, random)

    def _write(self, n, moment, number, tenant, random):
        records = self.partitions[number]
        visible = max(moment + random.randrange(_SLOWEST), records[-1].visible if records else 0)
        event = CloudEvent({**cloudevent(str(n)).attributes, "tenant": tenant}, b"{}")
        records.append(Record(moment, number, len(records) + self.low, visible, event))

    @property
    def in_order(self):
        return sorted((record for one in self.partitions for record in one), key=lambda record: record.key)

    def readable(self, number):
        """How many of a partition's records have their copies."""
        return bisect_right(self.partitions[number], self.now, key=lambda record: record.visible)

    def next_readable(self, number):
        records, at = self.partitions[number], self.readable(number)
        return records[at].visible if at < len(records) else inf

    @property
    def all_there_at(self):
        return max((one[-1].visible for one in self.partitions if one), default=_FROM)

    def monotonic(self):
        """It is later at each look."""
        self.now += 0.01
        return self.now / 1000

    def at_rest(self):
        self.now = self.all_there_at + 1.0


class Consumer:
    """
    As confluent_kafka's, of one topic: partitions come in any order, records of one in theirs. The end is told only of
    a partition of which nothing more comes for ``quiet`` milliseconds: a fetch ends with the first byte.
    """

    def __init__(self, topic, random):
        self.topic, self.random = topic, random
        self.quiet = random.choice((0, 60))
        self.next, self.told, self.paused = {}, set(), set()

    def list_topics(self, name, timeout):
        self._goes_by()
        found = type("Found", (), {"error": None, "partitions": dict.fromkeys(range(len(self.topic.partitions)))})
        return type("Topics", (), {"topics": {name: found}})

    def offsets_for_times(self, asked, timeout):
        self._goes_by()
        return [TopicPartition(one.topic, one.partition, self._first(one.partition, one.offset)) for one in asked]

    def _first(self, number, moment):
        records = self.topic.partitions[number]
        at = bisect_left(records, moment, key=lambda record: record.key[0])
        return records[at].key[2] if at < self.topic.readable(number) else -1

    def get_watermark_offsets(self, asked, timeout):
        self._goes_by()
        return self.topic.low, self.topic.low + self.topic.readable(asked.partition)

    def assign(self, parts):
        self.next = {part.partition: part.offset for part in parts}
        self.told, self.paused = set(), set()

    def pause(self, parts):
        self.paused |= {part.partition for part in parts}

    def poll(self, within):
        assert within >= 0, "librdkafka waits for ever"
        for number in self.random.sample(sorted(self.next), len(self.next)):
            if number in self.paused:
                continue
            at = self.next[number] - self.topic.low
            if at < self.topic.readable(number):
                self.next[number] += 1
                self.told.discard(number)
                self._goes_by()
                return self.topic.partitions[number][at]
            if number not in self.told and self.topic.next_readable(number) > self.topic.now + self.quiet:
                self.told.add(number)
                return End(number)
        self.topic.now += int(within * 1000)
        return None

    def consume(self, most, within):
        taken = [self.poll(0) for _ in range(self.random.randrange(4))]
        return [one for one in taken if one is not None]

    def _goes_by(self):
        self.topic.now += self.random.random()


def ask(topic, random, question):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_reader, "monotonic", topic.monotonic)
        return question(LogReader(Consumer(topic, random), "events", threading.Event()))


WRITTEN = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 7), st.sampled_from(["busy", "busy", "busy", "quiet"])), max_size=60
)


def _ids(found):
    return [one.event.attributes["id"] for one in found]


@given(written=WRITTEN, partitions=st.integers(1, 6), limit=st.sampled_from((1, 3, 8, 100)), seed=st.integers(0, 2**32))
def test_who_follows_gets_each_event_once_and_in_order(written, partitions, limit, seed):
    random = Random(seed)
    topic = Topic(partitions, written, random)
    told, position, idle = [], 0, 0
    while idle < 2:
        page = ask(topic, random, lambda reader, after=position: reader.after(after, limit, 0.3))
        assert len(page) <= limit
        told += page
        position = page[-1].offset if page else position
        idle = idle + 1 if not page and topic.now > topic.all_there_at else 0
    assert _ids(told) == [record.event.attributes["id"] for record in topic.in_order]
    assert [moment_of(one.offset) for one in told] == [record.key[0] for record in topic.in_order]
    assert len({one.offset for one in told}) == len(told)


@given(
    written=WRITTEN,
    partitions=st.integers(1, 6),
    limit=st.integers(1, 8),
    back=st.integers(1, 40),
    low=st.integers(0, 3),
    seed=st.integers(0, 2**32),
    at=st.floats(0, 1),
)
def test_who_looks_back_gets_the_newest_with_their_positions(written, partitions, limit, back, low, seed, at):
    random = Random(seed)
    topic = Topic(partitions, written, random, low)
    topic.at_rest()
    whole = ask(topic, random, lambda reader: reader.after(0, 1000, 0))
    before = [*(one.offset for one in whole), None][round(at * len(whole))]
    ahead = [one for one in whole if before is None or one.offset < before]

    assert ask(topic, random, lambda reader: reader.latest(everything, limit, limit, before)) == ahead[-limit:]

    quiet = [one for one in ahead if one.event.attributes["tenant"] == "quiet"]
    found = ask(topic, random, lambda reader: reader.latest(_quiet, back, limit, before))
    assert found == quiet[len(quiet) - len(found) :]
    within = [one for one in ahead[-max(back, limit) :] if one in quiet]
    assert len(found) >= min(limit, len(within))


@given(written=WRITTEN, partitions=st.integers(1, 6), scan=st.integers(1, 80), seed=st.integers(0, 2**32))
def test_what_is_searched_is_found_with_its_positions_and_little_is_kept(written, partitions, scan, seed):
    random = Random(seed)
    topic = Topic(partitions, written, random)
    topic.at_rest()
    whole = ask(topic, random, lambda reader: reader.after(0, 1000, 0))
    quiet = [one for one in whole if one.event.attributes["tenant"] == "quiet"]
    readers = []

    def search(reader):
        readers.append(reader)
        return reader.search(_quiet, scan, 3)

    found = ask(topic, random, search)
    of_one_moment = max(Counter(moment_of(one.offset) for one in whole).values(), default=0)
    seen = sum(len(partition.moments) for partition in readers[0].partitions.values())
    assert seen <= max(2 * scan, scan + of_one_moment)
    assert seen >= min(scan, len(whole))
    assert found == [one for one in whole[len(whole) - seen :] if one in quiet][:3]


def _quiet(headers):
    return ("ce_tenant", b"quiet") in headers


@given(written=WRITTEN, limit=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_no_more_events_are_kept_than_are_asked_for(written, limit, seed):
    random = Random(seed)
    topic = Topic(4, written, random)
    topic.at_rest()
    most = []

    class Watched(LogReader):
        def _see(self, message, wanted):
            took = super()._see(message, wanted)
            most.append(len(self.kept.in_order()))
            return took

    def read(reader):
        return Watched(reader.consumer, reader.topic, reader.given_up).after(0, limit, 0)

    assert len(ask(topic, random, read)) == min(limit, len(written))
    assert max(most, default=0) <= limit


def test_where_somebody_writes_all_the_time_a_follower_is_told_what_is_certain():
    """The end of no partition is ever seen."""
    random = Random(7)
    topic = Topic(3, [(7, random.randrange(3), "busy") for _ in range(600)], random)
    told, began = [], topic.now

    def follow(reader):
        reader.consumer.quiet = 1000
        return reader.after(told[-1].offset if told else 0, 200, 30)

    while len(told) < 300:
        asked = topic.now
        told += ask(topic, random, follow)
        assert topic.now - asked < 800
    assert topic.now - began < 300 * 7 + 800
    assert _ids(told) == [f"{n}" for n in range(len(told))]
