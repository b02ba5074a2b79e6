"""
Looking back at the topic, and following it: for operators, never for delivery.

The partitions are merged by the time at which Kafka appended (LogAppendTime), so that all of them have one
position: milliseconds, and a rank inside one. Each question is answered by a reader of its own, in a thread. Nodes
whose clocks differ by more than ``_SETTLE`` may hide an event from a follower; a scan sees it all the same.

A log is longer than a pod's memory: of a record that is not wanted a reader keeps its moment and its offset, and it
stops reading a partition from which no more can be wanted.
"""

import asyncio
import threading
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from events import BadEvent, CloudEvent
from shared.adapters.kafka.binding import RecordHeaders, from_record
from shared.adapters.kafka.cluster import Cluster, code, reason
from shared.domain.errors import Unavailable
from shared.ports.event_log import LOOK_BACK, LoggedEvent

_EPOCH = 1_735_689_600_000
"""2025-01-01 in milliseconds: positions stay below 2^53, which JSON carries exactly, until 2059."""
_RANK_BITS = 13
_SETTLE = 20
"""Milliseconds after which no event of a moment is expected any more."""
_WITHIN = 10.0
_PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
}
_READERS = 8
_AT_ONCE = 200
"""Records that a reader takes before it looks whether it has what it wants."""
_T = TypeVar("_T")
Wanted = Callable[[RecordHeaders], bool]


def appended_at(position: int) -> float:
    """When Kafka appended the event that has this offset in a KafkaEventLog, in seconds since 1970."""
    return ((position >> _RANK_BITS) + _EPOCH) / 1000


class KafkaEventLog:
    """``scan``: how many of the newest events a search looks at."""

    def __init__(self, cluster: Cluster, topic: str, *, scan: int = 100_000) -> None:
        self._topic = topic
        self._scan = scan
        self._settings = cluster.settings(
            group_id="chat4all-readers",  # never joined, never committed
            enable_auto_commit=False,
            enable_partition_eof=True,
            auto_offset_reset="earliest",
            fetch_wait_max_ms=100,
            fetch_max_bytes=1_048_576,  # of all partitions together; one larger record comes all the same
            fetch_message_max_bytes=262_144,  # of one
            queued_max_messages_kbytes=2048,
            fetch_queue_backoff_ms=10,  # a full queue is looked at again after a second otherwise
        )
        self._threads = ThreadPoolExecutor(_READERS, "kafka reader")

    async def read(self, *, after: int, limit: int, wait: float = 0) -> Sequence[LoggedEvent]:
        return await self._ask(lambda reader: reader.after(after, limit, wait))

    async def latest(self, limit: int, *, tenant: str | None = None) -> Sequence[LoggedEvent]:
        named = tenant.encode() if tenant is not None else None

        def of_tenant(headers: RecordHeaders) -> bool:
            return named is None or ("ce_tenant", named) in headers

        back = limit if tenant is None else LOOK_BACK
        return await self._ask(lambda reader: reader.latest(of_tenant, back, limit)) if limit else []

    async def of_trace(self, trace_id: str, *, limit: int) -> Sequence[LoggedEvent]:
        def of_trace(headers: RecordHeaders) -> bool:
            return any(name == "ce_traceparent" and _trace(value) == trace_id.encode() for name, value in headers)

        return await self._ask(lambda reader: reader.search(of_trace, self._scan, limit))

    async def about(self, message_id: str, *, limit: int) -> Sequence[LoggedEvent]:
        wanted = message_id.encode()

        def names_it(headers: RecordHeaders) -> bool:
            return any(value == wanted for _, value in headers)

        return await self._ask(lambda reader: reader.search(names_it, self._scan, limit))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, question: "Callable[[_Reader], _T]") -> _T:
        given_up = threading.Event()

        def answer() -> _T:
            until = monotonic() + _WITHIN
            while True:
                try:
                    with _consumer(self._settings) as consumer:
                        return question(_Reader(consumer, self._topic, given_up))
                except KafkaException as error:
                    # A partition whose leader is just being chosen: that passes.
                    if code(error) not in _PASSING or monotonic() > until or given_up.wait(0.1):
                        raise Unavailable(f"the event log cannot be read: {reason(error)}") from error

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, answer)
        except asyncio.CancelledError:
            given_up.set()
            raise


@dataclass(slots=True)
class _Partition:
    """What a reader has seen of one: of each record its moment and its offset, of a wanted one the event too."""

    ended: bool = False
    paused: bool = False
    moments: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    events: dict[int, CloudEvent | None] = field(default_factory=dict)
    """By the place of the record in ``moments``; None where they are only counted."""

    @property
    def newest(self) -> int:
        return self.moments[-1] if self.moments else -1

    def holds(self, count: int, *, since: int) -> bool:
        """Whether it has so many events after a moment that are older than what may still come from elsewhere."""
        settled = self.newest - _SETTLE
        return len(self.events) >= count and sum(since < self.moments[n] < settled for n in self.events) >= count


@dataclass(slots=True)
class _Reader:
    """One consumer, in one thread, for one question."""

    consumer: Consumer
    topic: str
    given_up: threading.Event
    partitions: dict[int, _Partition] = field(default_factory=dict)

    def after(self, position: int, limit: int, wait: float) -> list[LoggedEvent]:
        moment = (position >> _RANK_BITS) + _EPOCH if position > 0 else 0
        self._begin(self._first_at(moment))
        until = monotonic() + wait
        deadline = until + _WITHIN
        quiet_at = None
        while not self.given_up.is_set():
            took = self._take(0.002 if self._all_ended() else 0.1)
            self._pause_who_holds(limit, since=moment)
            settled = quiet_at is not None and monotonic() > quiet_at
            ready = self._positioned(position, self._safe_before(settled))
            if len(ready) >= limit or (ready and settled):
                return ready[:limit]
            if took or quiet_at is None:
                quiet_at = monotonic() + _SETTLE / 1000 if self._all_ended() else None
            if settled and monotonic() > until:
                return []
            if settled:
                self._await_more(until)
                quiet_at = None
            if monotonic() > deadline:
                raise Unavailable("Kafka does not answer")
        return []

    def latest(self, wanted: Wanted, back: int, limit: int) -> list[LoggedEvent]:
        """Counts first, from where enough must be; then reads from the beginning of the oldest moment, for ranks."""
        self._begin(self._tails(back, least=limit))
        self._to_the_end(wanted, keep=False)
        counted = sorted(self._moments_of_wanted())
        if not counted:
            return []
        oldest = counted[-limit:][0]
        self._begin(self._first_at(oldest))
        self._to_the_end(wanted)
        return self._positioned(0, None)[-limit:]

    def search(self, wanted: Wanted, scan: int, limit: int) -> list[LoggedEvent]:
        self._begin(self._tails(scan))
        self._to_the_end(wanted)
        return self._positioned(0, None, of=set(self._moments_of_wanted()))[:limit]

    def _numbers(self) -> list[int]:
        found = self.consumer.list_topics(self.topic, timeout=_WITHIN).topics[self.topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def _at(self, number: int, offset: int) -> TopicPartition:
        return TopicPartition(self.topic, number, offset)

    def _tails(self, count: int, *, least: int = 1) -> list[TopicPartition]:
        """Where so many records of the log begin, taken evenly of its partitions, and so many of each at least."""
        numbers = self._numbers()
        each = max(count // max(len(numbers), 1), least)
        tails = []
        for number in numbers:
            low, high = self._watermarks(number)
            tails.append(self._at(number, max(low, high - each)))
        return tails

    def _first_at(self, moment: int) -> list[TopicPartition]:
        """Each partition's first record of the moment or later, or the place of the next one that is written."""
        begins = self._of_time(moment, self._numbers())
        none = [number for number, offset in begins.items() if offset < 0]
        if none:
            ends = {number: self._watermarks(number)[1] for number in none}
            # asked once more: one that came meanwhile may be before the end that was just told
            begins |= {n: offset if offset >= 0 else ends[n] for n, offset in self._of_time(moment, none).items()}
        return [self._at(number, offset) for number, offset in begins.items()]

    def _of_time(self, moment: int, numbers: Sequence[int]) -> dict[int, int]:
        """By partition; negative where nothing is of the moment or later."""
        asked = self.consumer.offsets_for_times([self._at(number, moment) for number in numbers], timeout=_WITHIN)
        for part in asked:
            if part.error is not None:
                raise KafkaException(part.error)
        return {part.partition: part.offset for part in asked}

    def _watermarks(self, number: int) -> tuple[int, int]:
        return self.consumer.get_watermark_offsets(self._at(number, 0), timeout=_WITHIN)

    def _begin(self, starts: list[TopicPartition]) -> None:
        self.partitions = {part.partition: _Partition() for part in starts}
        self.consumer.assign(starts)

    def _pause_who_holds(self, count: int, *, since: int) -> None:
        """The oldest are wanted: of a partition that holds as many as are asked for, no other can be among them."""
        for number, partition in self.partitions.items():
            if not partition.paused and partition.holds(count, since=since):
                partition.paused = True
                self.consumer.pause([TopicPartition(self.topic, number)])

    def _all_ended(self) -> bool:
        return all(partition.ended for partition in self.partitions.values())

    def _to_the_end(self, wanted: Wanted, *, keep: bool = True) -> None:
        deadline = monotonic() + _WITHIN
        while not self._all_ended() and not self.given_up.is_set():
            if self._take(0.1, wanted, keep=keep):
                deadline = monotonic() + _WITHIN
            elif monotonic() > deadline:
                raise Unavailable("Kafka does not answer")

    def _await_more(self, until: float) -> None:
        while monotonic() < until and not self.given_up.is_set():
            if self._take(min(0.25, until - monotonic())):
                return

    def _take(self, within: float, wanted: Wanted = lambda headers: True, *, keep: bool = True) -> bool:
        """Whether a record came."""
        first = self.consumer.poll(within)
        if first is None:
            return False
        return any([self._see(message, wanted, keep) for message in (first, *self.consumer.consume(_AT_ONCE, 0))])

    def _see(self, message: Message, wanted: Wanted, keep: bool) -> bool:
        number, offset = cast(int, message.partition()), cast(int, message.offset())
        partition = self.partitions[number]
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            partition.ended = True
            return False
        _, moment = message.timestamp()
        headers = cast(RecordHeaders, message.headers() or [])
        if wanted(headers):
            with suppress(BadEvent):
                partition.events[len(partition.moments)] = from_record(headers, message.value()) if keep else None
        partition.moments.append(moment)
        partition.offsets.append(offset)
        return True

    def _moments_of_wanted(self) -> list[int]:
        return [partition.moments[n] for partition in self.partitions.values() for n in partition.events]

    def _safe_before(self, settled: bool) -> int | None:
        """The time before which nothing more can come; None: nothing more comes."""
        if settled:
            return None
        newest = max((partition.newest for partition in self.partitions.values()), default=-1)
        behind = [partition.newest for partition in self.partitions.values() if not partition.ended]
        return min([*behind, newest - _SETTLE])

    def _positioned(self, after: int, before: int | None, *, of: Collection[int] | None = None) -> list[LoggedEvent]:
        return [
            LoggedEvent(position, event)
            for moment, position, event in self._positions(of)
            if event is not None and position > after and (before is None or moment < before)
        ]

    def _positions(self, of: Collection[int] | None = None) -> Iterator[tuple[int, int, CloudEvent | None]]:
        """
        Moment, position and event of what was seen, or of what was seen of these moments, in the order of the log;
        right for moments of which everything was seen.
        """
        seen = sorted(
            (moment, number, offset, n)
            for number, partition in self.partitions.items()
            for n, (moment, offset) in enumerate(zip(partition.moments, partition.offsets, strict=True))
            if of is None or moment in of
        )
        for moment, same in groupby(seen, key=itemgetter(0)):
            for rank, (_, number, _, n) in enumerate(same, 1):
                yield moment, (moment - _EPOCH << _RANK_BITS) + rank, self.partitions[number].events.get(n)


def _trace(traceparent: str | bytes | None) -> bytes | None:
    parts = traceparent.split(b"-") if isinstance(traceparent, bytes) else []
    return parts[1] if len(parts) == 4 else None


@contextmanager
def _consumer(settings: dict[str, object]) -> Iterator[Consumer]:
    consumer = Consumer(settings)
    try:
        yield consumer
    finally:
        consumer.close()
