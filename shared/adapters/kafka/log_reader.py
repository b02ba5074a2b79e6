"""
One question about what is in the topic, answered by one consumer.

The partitions are merged by the time at which Kafka appended (LogAppendTime), so that all of them have one
position: milliseconds, and a rank inside one. A topic is longer than a pod's memory: of a record that was seen its
moment and its offset are kept, and of those that were asked for as many events as the answer may have.
"""

import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from itertools import groupby
from operator import itemgetter
from time import monotonic
from typing import cast

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, Message, TopicPartition

from events import BadEvent, CloudEvent
from shared.adapters.kafka.binding import RecordHeaders, from_record, is_structured, to_headers
from shared.domain.errors import Unavailable
from shared.ports.event_log import LoggedEvent

EPOCH = 1_735_689_600_000
"""2025-01-01 in milliseconds: positions stay below 2^53, which JSON carries exactly, until 2059."""
RANK_BITS = 13
_LATEST = EPOCH + (1 << 53 - RANK_BITS)
SETTLE = 100
"""Milliseconds after which no event of a moment is expected any more: clocks of nodes differ, and copies take time."""
WITHIN = 10.0
"""Seconds without a record until Kafka is called silent."""
_FILLING = 0.5
"""Seconds until a page may be less than full though more comes."""
_AT_ONCE = 200
"""Records that are taken before it is looked whether there is enough."""

Wanted = Callable[[RecordHeaders], bool]
Key = tuple[int, int, int]
"""Moment in milliseconds, partition, offset: the order of the whole log."""


def everything(headers: RecordHeaders) -> bool:
    return True


def moment_of(position: int) -> int:
    """Milliseconds since 1970."""
    return (position >> RANK_BITS) + EPOCH


class Kept:
    """
    The oldest, or the newest, events that came, ``limit`` at most; and all of the moment ``edge``, of which only their
    ranks tell which are asked for.
    """

    def __init__(self, limit: int, *, newest: bool, edge: int | None = None) -> None:
        self._limit = limit
        self._sign = 1 if newest else -1
        self._edge = edge
        self._of_edge: list[tuple[Key, CloudEvent]] = []
        self._heap: list[tuple[Key, Key, CloudEvent]] = []

    @property
    def full(self) -> bool:
        return len(self._heap) >= self._limit

    @property
    def bound(self) -> int:
        """The moment of the event that goes when a better one comes."""
        return self._heap[0][1][0]

    def wants(self, key: Key) -> bool:
        return key[0] == self._edge or not self.full or self._place(key) > self._heap[0][0]

    def keep(self, key: Key, event: CloudEvent) -> None:
        if key[0] == self._edge:
            self._of_edge.append((key, event))
        elif self.full:
            heappushpop(self._heap, (self._place(key), key, event))
        else:
            heappush(self._heap, (self._place(key), key, event))

    def in_order(self) -> list[tuple[Key, CloudEvent]]:
        return sorted([*self._of_edge, *((key, event) for _, key, event in self._heap)], key=itemgetter(0))

    def _place(self, key: Key) -> Key:
        moment, partition, offset = key
        return self._sign * moment, self._sign * partition, self._sign * offset


@dataclass(slots=True)
class Partition:
    """What was seen of one; ``end`` is the first offset that is not asked for, None where it is followed."""

    end: int | None = None
    ended: bool = False
    paused: bool = False
    moments: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))

    @property
    def newest(self) -> int:
        return self.moments[-1] if self.moments else -1


@dataclass(slots=True)
class LogReader:
    consumer: Consumer
    topic: str
    given_up: threading.Event
    partitions: dict[int, Partition] = field(default_factory=dict)
    kept: Kept = field(default_factory=lambda: Kept(0, newest=True))
    producers_times: bool = False
    """Whether the times are not Kafka's: then nothing here is certain."""

    def after(self, position: int, limit: int, wait: float) -> list[LoggedEvent]:
        """
        The oldest beyond a position, as soon as nothing older can come.

        Raises:
            Unavailable: Kafka is silent.
        """
        moment = moment_of(position)
        kept = Kept(limit, newest=False, edge=moment)
        self._begin(self._first_at(moment), {}, kept)
        until = monotonic() + wait
        silent_at = monotonic() + WITHIN
        long_enough = monotonic() + _FILLING
        caught_up: tuple[int, float] | None = None
        while not self.given_up.is_set():
            if self._take(0.01 if self._all_ended() else 0.1) or self._all_ended():
                silent_at = monotonic() + WITHIN
            elif monotonic() > silent_at:
                raise Unavailable("Kafka does not answer")
            if kept.full and kept.bound < self._safe_before():
                return self._answer(after=position)[:limit]
            if monotonic() > long_enough and (found := self._answer(after=position, until=self._safe_before() - 1)):
                return found[:limit]  # somebody writes all the time: the end of the log may never be seen
            self._pause_who_is_beyond(kept)
            if caught_up is None:
                caught_up = (self._newest(), monotonic() + SETTLE / 1000) if self._all_ended() else None
            elif monotonic() > caught_up[1]:
                if found := self._answer(after=position, until=caught_up[0]):
                    return found[:limit]
                if caught_up[0] == self._newest():
                    if monotonic() > until:
                        return []
                    self._await_more(until)
                caught_up = None
        return []

    def latest(self, wanted: Wanted, back: int, limit: int, before: int | None) -> list[LoggedEvent]:
        """The newest of those wanted among about ``back`` of the whole log."""
        edge, of_edge = None, 0
        if before is None:
            ends = self._ends()
        else:
            edge = moment_of(before)
            ends = self._first_at(edge + 1)
            of_edge = sum(ends.values()) - sum(self._first_at(edge).values())
        begins = self._reaching_back(ends, max(back, limit) + of_edge)
        self._begin(begins, ends, Kept(limit, newest=True, edge=edge))
        self._to_the_end(wanted)
        return [one for one in self._answer() if before is None or one.offset < before][-limit:]

    def search(self, wanted: Wanted, scan: int, limit: int) -> list[LoggedEvent]:
        """The oldest of those wanted among about ``scan`` of the whole log."""
        ends = self._ends()
        self._begin(self._reaching_back(ends, scan), ends, Kept(limit, newest=False))
        self._to_the_end(wanted)
        return self._answer()

    def _numbers(self) -> list[int]:
        found = self.consumer.list_topics(self.topic, timeout=WITHIN).topics[self.topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def _ends(self) -> dict[int, int]:
        return {number: self._end_of(number) for number in self._numbers() if not self.given_up.is_set()}

    def _end_of(self, number: int) -> int:
        _, end = self.consumer.get_watermark_offsets(TopicPartition(self.topic, number), timeout=WITHIN)
        return end

    def _first_at(self, moment: int) -> dict[int, int]:
        """The offset of each partition's first record of the moment or later, or of the next that is written."""
        begins = self._of_time(moment, self._numbers())
        none = [number for number, offset in begins.items() if offset < 0]
        if none:
            ends = {number: self._end_of(number) for number in none}
            # asked once more: one that came meanwhile may be before the end that was just told
            begins |= {n: offset if offset >= 0 else ends[n] for n, offset in self._of_time(moment, none).items()}
        return begins

    def _of_time(self, moment: int, numbers: Sequence[int]) -> dict[int, int]:
        """By partition; negative where nothing is of the moment or later."""
        asked = [TopicPartition(self.topic, number, moment) for number in numbers]
        told = self.consumer.offsets_for_times(asked, timeout=WITHIN)
        for part in told:
            if part.error is not None:
                raise KafkaException(part.error)
        return {part.partition: part.offset for part in told}

    def _reaching_back(self, ends: Mapping[int, int], count: int) -> dict[int, int]:
        """Where the moment begins from which on there are so many records, and not twice as many if that can be."""

        def since(moment: int) -> tuple[dict[int, int], int]:
            told = self._of_time(moment, list(ends))
            begins = {n: min(offset if offset >= 0 else ends[n], ends[n]) for n, offset in told.items()}
            return begins, sum(ends[n] - begin for n, begin in begins.items())

        early, late = EPOCH, _LATEST
        begins, records = since(early)
        while records > 2 * count and late - early > 1 and not self.given_up.is_set():
            middle = (early + late) // 2
            later, fewer = since(middle)
            if fewer >= count:
                early, begins, records = middle, later, fewer
            else:
                late = middle
        return begins

    def _begin(self, begins: Mapping[int, int], ends: Mapping[int, int], kept: Kept) -> None:
        self.kept = kept
        self.partitions = {n: Partition(end := ends.get(n), ended=end == begin) for n, begin in begins.items()}
        self.consumer.assign(
            [TopicPartition(self.topic, n, begin) for n, begin in begins.items() if not self.partitions[n].ended]
        )

    def _pause_who_is_beyond(self, kept: Kept) -> None:
        """Whose next record cannot be among the oldest, nor be needed to know that nothing older comes."""
        for number, partition in self.partitions.items():
            if kept.full and not partition.paused and partition.newest - SETTLE > kept.bound:
                self._pause(number)

    def _pause(self, number: int) -> None:
        self.partitions[number].paused = True
        self.consumer.pause([TopicPartition(self.topic, number)])

    def _all_ended(self) -> bool:
        return all(partition.ended for partition in self.partitions.values())

    def _to_the_end(self, wanted: Wanted) -> None:
        silent_at = monotonic() + WITHIN
        while not self._all_ended() and not self.given_up.is_set():
            if self._take(0.1, wanted):
                silent_at = monotonic() + WITHIN
            elif monotonic() > silent_at:
                raise Unavailable("Kafka does not answer")

    def _await_more(self, until: float) -> None:
        while (left := until - monotonic()) > 0 and not self.given_up.is_set():
            if self._take(min(0.25, left)):  # less than nothing would be for ever
                return

    def _take(self, within: float, wanted: Wanted = everything) -> bool:
        """Whether a record came."""
        first = self.consumer.poll(within)
        if first is None:
            return False
        return any([self._see(message, wanted) for message in (first, *self.consumer.consume(_AT_ONCE, 0))])

    def _see(self, message: Message, wanted: Wanted) -> bool:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        number, offset = cast(int, message.partition()), cast(int, message.offset())
        partition = self.partitions[number]
        if error is not None or (partition.end is not None and offset >= partition.end):
            self._ended(number)
            return False
        kind, moment = message.timestamp()
        self.producers_times = self.producers_times or kind != TIMESTAMP_LOG_APPEND_TIME
        partition.moments.append(moment)
        partition.offsets.append(offset)
        self._keep((moment, number, offset), message, wanted)
        if partition.end is not None and offset == partition.end - 1:
            self._ended(number)
        return True

    def _keep(self, key: Key, message: Message, wanted: Wanted) -> None:
        if not self.kept.wants(key):
            return
        headers = cast(RecordHeaders, message.headers() or [])
        try:
            event = from_record(headers, message.value()) if is_structured(headers) else None
            if wanted(headers if event is None else to_headers(event)):
                self.kept.keep(key, event or from_record(headers, message.value()))
        except BadEvent:
            return

    def _ended(self, number: int) -> None:
        partition = self.partitions[number]
        partition.ended = True
        if partition.end is not None and not partition.paused:
            self._pause(number)

    def _safe_before(self) -> int:
        """The moment before which nothing more can come."""
        behind = [partition.newest for partition in self.partitions.values() if not partition.ended]
        return min([*behind, self._newest() - SETTLE])

    def _newest(self) -> int:
        return max((partition.newest for partition in self.partitions.values()), default=-1)

    def _answer(self, *, after: int = 0, until: int = _LATEST) -> list[LoggedEvent]:
        """What is kept, up to a moment, with its positions: right for moments of which everything was seen."""
        kept = [(key, event) for key, event in self.kept.in_order() if key[0] <= until]
        of_kept = {key[0] for key, _ in kept}
        seen = sorted(
            (moment, number, offset)
            for number, partition in self.partitions.items()
            for moment, offset in zip(partition.moments, partition.offsets, strict=True)
            if moment in of_kept
        )
        positions = {
            key: (moment - EPOCH << RANK_BITS) + rank
            for moment, same in groupby(seen, key=itemgetter(0))
            for rank, key in enumerate(same, 1)
        }
        return [LoggedEvent(positions[key], event) for key, event in kept if positions[key] > after]
