"""
Looking back at the topic, and following it: for operators, never for delivery.

The partitions are merged by the time at which Kafka appended (LogAppendTime), so that all of them have one
position: milliseconds, and a rank inside one. Each question is answered by a reader of its own, in a thread. Nodes
whose clocks differ by more than ``_SETTLE`` may hide an event from a follower; a scan sees it all the same.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from events import BadEvent, CloudEvent
from shared.adapters.kafka.binding import RecordHeaders, from_record
from shared.adapters.kafka.cluster import Cluster, code, reason
from shared.domain.errors import Unavailable
from shared.ports.event_log import LoggedEvent

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
_T = TypeVar("_T")
_Key = tuple[int, int, int]
"""Time of the append in milliseconds, partition, offset: the order of the whole log."""


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
            queued_max_messages_kbytes=16_384,
            fetch_wait_max_ms=100,
        )
        self._threads = ThreadPoolExecutor(_READERS, "kafka reader")

    async def read(self, *, after: int, limit: int, wait: float = 0) -> Sequence[LoggedEvent]:
        return await self._ask(lambda reader: reader.after(after, limit, wait))

    async def latest(self, limit: int, *, before: int | None = None) -> Sequence[LoggedEvent]:
        return await self._ask(lambda reader: reader.latest(limit, before)) if limit else []

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
    """How far a reader has come in one partition; ``newest`` is the time of the last record seen."""

    stop: int | None = None
    """The first offset that is not wanted any more."""
    ended: bool = False
    newest: int = -1


@dataclass(slots=True)
class _Reader:
    """One consumer, in one thread, for one question."""

    consumer: Consumer
    topic: str
    given_up: threading.Event
    partitions: dict[int, _Partition] = field(default_factory=dict)
    found: dict[_Key, CloudEvent | None] = field(default_factory=dict)
    """None for a record that is counted and not wanted."""

    def after(self, position: int, limit: int, wait: float) -> list[LoggedEvent]:
        moment = (position >> _RANK_BITS) + _EPOCH if position > 0 else 0
        self._begin(self.consumer.offsets_for_times([self._at(n, moment) for n in self._numbers()], timeout=_WITHIN))
        until = monotonic() + wait
        deadline = until + _WITHIN
        quiet_at = None
        while not self.given_up.is_set():
            took = self._take(0.002 if self._all_ended() else 0.1)
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

    def latest(self, limit: int, before: int | None) -> list[LoggedEvent]:
        """Counts first, from where enough must be; then reads from the beginning of the oldest moment, for ranks."""
        if before is None:
            stops: dict[int, int] = {}
            self._begin(self._tails(limit))
        else:
            moment = (max(before, 0) >> _RANK_BITS) + _EPOCH
            stops = self._first_at(moment + 1)
            begins = self._first_at(moment)
            self._begin([self._at(n, max(self._low(n), first - limit)) for n, first in begins.items()], stops)
        self._to_the_end(lambda headers: False)
        counted = [key for key, position in self._positions() if before is None or position < before]
        if not counted:
            return []
        oldest = counted[-limit:][0]
        self.found.clear()
        self._begin([self._at(n, first) for n, first in self._first_at(oldest[0]).items()], stops)
        self._to_the_end(lambda headers: True)
        return [one for one in self._positioned(0, None) if before is None or one.offset < before][-limit:]

    def search(self, wanted: Callable[[RecordHeaders], bool], scan: int, limit: int) -> list[LoggedEvent]:
        self._begin(self._tails(max(scan // max(len(self._numbers()), 1), 1)))
        self._to_the_end(wanted)
        return self._positioned(0, None)[:limit]

    def _numbers(self) -> list[int]:
        found = self.consumer.list_topics(self.topic, timeout=_WITHIN).topics[self.topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def _at(self, number: int, offset: int) -> TopicPartition:
        return TopicPartition(self.topic, number, offset)

    def _tails(self, each: int) -> list[TopicPartition]:
        tails = []
        for number in self._numbers():
            low, high = self.consumer.get_watermark_offsets(self._at(number, 0), timeout=_WITHIN)
            tails.append(self._at(number, max(low, high - each)))
        return tails

    def _low(self, number: int) -> int:
        low, _ = self.consumer.get_watermark_offsets(self._at(number, 0), timeout=_WITHIN)
        return low

    def _first_at(self, moment: int) -> dict[int, int]:
        """The offset of each partition's first record of the moment or later, or its end."""
        found = {}
        for part in self.consumer.offsets_for_times([self._at(n, moment) for n in self._numbers()], timeout=_WITHIN):
            if part.error is not None:
                raise KafkaException(part.error)
            if part.offset >= 0:
                found[part.partition] = part.offset
            else:
                _, found[part.partition] = self.consumer.get_watermark_offsets(part, timeout=_WITHIN)
        return found

    def _begin(self, starts: list[TopicPartition], stops: Mapping[int, int] | None = None) -> None:
        self.partitions = {}
        for part in starts:
            stop = (stops or {}).get(part.partition)
            self.partitions[part.partition] = _Partition(stop, ended=stop is not None and part.offset >= stop)
        self.consumer.assign([part for part in starts if not self.partitions[part.partition].ended])

    def _all_ended(self) -> bool:
        return all(partition.ended for partition in self.partitions.values())

    def _to_the_end(self, wanted: Callable[[RecordHeaders], bool]) -> None:
        deadline = monotonic() + _WITHIN
        while not self._all_ended() and not self.given_up.is_set():
            if self._take(0.1, wanted):
                deadline = monotonic() + _WITHIN
            elif monotonic() > deadline:
                raise Unavailable("Kafka does not answer")

    def _await_more(self, until: float) -> None:
        while monotonic() < until and not self.given_up.is_set():
            if self._take(min(0.25, until - monotonic())):
                return

    def _take(self, within: float, wanted: Callable[[RecordHeaders], bool] = lambda headers: True) -> bool:
        """Whether a record came."""
        first = self.consumer.poll(within)
        if first is None:
            return False
        return any([self._see(message, wanted) for message in (first, *self.consumer.consume(1000, 0))])

    def _see(self, message: Message, wanted: Callable[[RecordHeaders], bool]) -> bool:
        number, offset = cast(int, message.partition()), cast(int, message.offset())
        partition = self.partitions[number]
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            partition.ended = True
            return False
        if partition.stop is not None and offset >= partition.stop - 1:
            partition.ended = True
            if offset >= partition.stop:
                return True
        _, moment = message.timestamp()
        partition.newest = moment
        headers = cast(RecordHeaders, message.headers() or [])
        event = None
        if wanted(headers):
            try:
                event = from_record(headers, message.value())
            except BadEvent:
                event = None
        self.found[moment, number, offset] = event
        return True

    def _safe_before(self, settled: bool) -> int | None:
        """The time before which nothing more can come; None: nothing more comes."""
        if settled:
            return None
        newest = max((partition.newest for partition in self.partitions.values()), default=-1)
        behind = [partition.newest for partition in self.partitions.values() if not partition.ended]
        return min([*behind, newest - _SETTLE])

    def _positioned(self, after: int, before: int | None) -> list[LoggedEvent]:
        logged = []
        for key, position in self._positions():
            if before is not None and key[0] >= before:
                break
            event = self.found[key]
            if event is not None and position > after:
                logged.append(LoggedEvent(position, event))
        return logged

    def _positions(self) -> Iterator[tuple[_Key, int]]:
        """In the order of the log; right for moments of which everything is found."""
        moment, rank = -1, 0
        for key in sorted(self.found):
            rank = rank + 1 if key[0] == moment else 1
            moment = key[0]
            yield key, (moment - _EPOCH << _RANK_BITS) + rank


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
