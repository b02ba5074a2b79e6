"""
Consumer groups on Kafka: one librdkafka consumer for each, polled by a thread of its own.

The thread alone touches the consumer (whose lock a poll holds) and does everything that may block: rebalances, the
filters over all records, pausing. The event loop gets what passed one. Partitions move one by one
(cooperative-sticky): those that stay are read on meanwhile.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from time import monotonic, sleep
from typing import cast

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from events import BadEvent
from shared.adapters.kafka.binding import RecordHeaders, from_record, matcher
from shared.adapters.kafka.cluster import Cluster, code, reason
from shared.domain.errors import Unavailable
from shared.observability.log import log
from shared.ports.consumer_groups import Claim, Fetched, LetGo
from shared.ports.event_log import LoggedEvent

_BATCH = 500
_LYING = 1000
"""Events that passed a filter and that nobody has fetched; with so many the thread reads no more."""
_POLL = 0.25
_GATHER = 0.002
_FETCH_WAITS = 1500
"""
Milliseconds for which Kafka keeps a fetch that has nothing; what comes meanwhile answers it at once. A partition that
was just given to a member waits for as long, if another of its was being fetched.
"""
_PATIENCE = 1.0
"""Seconds that a full thread waits before it pauses its partitions, which throws away what was fetched ahead."""
_REPORT = 0.5
"""Seconds after which offsets that only skipped events have moved are told to the loop, and the partitions' ends."""
_WITHIN = 5.0
_REBALANCING = {KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS, KafkaError._ASSIGNMENT_LOST}
_SHARE_WITHIN = 15.0


class KafkaConsumerGroups:
    """
    ``prefix``: of the names of the groups; who reads another topic of the same Kafka needs another one, for members
    of one group wait for each other. ``session``: seconds without a heartbeat after which a member is taken for dead
    and its partitions go to the others; not less than the broker's group.min.session.timeout.ms (6 s unless set).
    """

    def __init__(self, cluster: Cluster, topic: str, *, prefix: str = "", session: float = 3.0) -> None:
        self._cluster = cluster
        self._topic = topic
        self._prefix = prefix
        self._session = session

    def member(
        self, group: str, filters: Sequence[Mapping[str, str]], *, instead_of: Sequence[str] = ()
    ) -> "KafkaMember":
        earlier = [self._prefix + name for name in instead_of]
        return KafkaMember(self._cluster, self._topic, self._prefix + group, filters, earlier, session=self._session)


class KafkaMember:
    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        group: str,
        filters: Sequence[Mapping[str, str]],
        earlier: Sequence[str],
        *,
        session: float,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._group = group
        self._earlier = earlier
        self._filters = filters
        self._match = matcher(filters)
        self._settings = cluster.settings(
            group_id=group,
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=int(session * 1000),
            # A member learns by them that partitions move; Kafka advises a third of the session at most. There is a
            # member for each service, and these two are all that it does where nothing happens.
            heartbeat_interval_ms=int(session * 1000 / 4),
            fetch_wait_max_ms=_FETCH_WAITS,
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            # A new group's beginning is committed before it joins. Without an offset are only partitions that were
            # added later, and whose offset was trimmed away: both begin at the oldest there is.
            auto_offset_reset="earliest",
            # There is one such buffer for each service.
            queued_min_messages=1000,
            queued_max_messages_kbytes=4096,
            fetch_max_bytes=1_048_576,
            fetch_message_max_bytes=65_536,
            fetch_queue_backoff_ms=20,  # a second by default: a full buffer would stay empty for most of it
            on_commit=self._committed,
            error_cb=self._failed,
        )
        self._loop: asyncio.AbstractEventLoop
        self._let_go: LetGo
        self._thread: threading.Thread | None = None
        self._to_commit: Mapping[Claim, int] | None = None
        self._heads: Mapping[Claim, int] = {}
        self._shared: asyncio.Future[None]
        # Of the thread alone:
        self._claims: dict[int, Claim] = {}
        self._looked_at: dict[Claim, int] = {}
        self._report_at = 0.0
        self._paused = False
        # Each counter is written on one side only:
        self._handed = 0
        self._taken = 0
        self._room = threading.Event()
        self._leaving = threading.Event()
        # Of the loop alone:
        self._fetched: deque[Fetched] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._commit: asyncio.Future[None] | None = None
        self._broken: BaseException | None = None
        self._closed = asyncio.Event()

    async def join(self, let_go: LetGo) -> None:
        self._loop = asyncio.get_running_loop()
        self._let_go = let_go
        self._shared = self._loop.create_future()
        self._thread = threading.Thread(target=self._live, name=f"kafka {self._group}", daemon=True)
        self._thread.start()
        await self._shared

    async def fetch(self) -> Sequence[Fetched]:
        while not self._fetched:
            if self._broken is not None:
                raise Unavailable(f"the consumer of {self._group} has ended") from self._broken
            self._waiting = self._loop.create_future()
            await self._waiting
        fetched = list(self._fetched)
        self._fetched.clear()
        self._taken += sum(len(one.records) for one in fetched)
        self._room.set()
        return fetched

    async def commit(self, finished: Mapping[Claim, int]) -> bool:
        self._commit = self._loop.create_future()
        self._to_commit = finished
        try:
            await self._commit
        except KafkaException as error:
            if code(error) not in _REBALANCING:
                raise Unavailable(f"Kafka keeps no offsets: {reason(error)}") from error
            return False
        finally:
            self._commit = None
        return True

    def heads(self) -> Mapping[Claim, int]:
        return self._heads

    async def leave(self) -> None:
        self._leaving.set()
        self._room.set()
        if self._thread is not None:
            await self._closed.wait()

    def _offsets(self, finished: Mapping[Claim, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, claim.partition, offset) for claim, offset in finished.items()]

    # -- in the loop, called from the thread

    def _arrived(self, fetched: Iterable[Fetched]) -> None:
        self._fetched.extend(fetched)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _commit_ended(self, error: KafkaError | None) -> None:
        if self._commit is None or self._commit.done():
            return
        if error is None:
            self._commit.set_result(None)
        else:
            self._commit.set_exception(KafkaException(error))

    def _has_share(self) -> None:
        if not self._shared.done():
            self._shared.set_result(None)

    def _ended(self, why: BaseException) -> None:
        self._broken = why
        if not self._shared.done():
            self._shared.set_exception(Unavailable(f"the consumer of {self._group} has ended: {why}"))
        self._wake()

    # -- in the thread

    def _live(self) -> None:
        consumer = Consumer(self._settings)
        try:
            self._begin_group(consumer)
            consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
            joined = looked = monotonic()
            while not self._leaving.is_set():
                if self._handed - self._taken >= _LYING:
                    self._wait_for_room(consumer)
                if self._to_commit is not None:
                    self._send_commit(consumer)
                if monotonic() > self._report_at:
                    self._report(consumer)
                message = consumer.poll(_POLL)
                if message is not None:
                    self._look_at([message, *consumer.consume(_BATCH - 1, 0)])
                    if monotonic() - looked < _GATHER:
                        # Events come faster than it pays to wake up for each.
                        sleep(_GATHER)
                    looked = monotonic()
                if monotonic() - joined > _SHARE_WITHIN:
                    self._soon(self._has_share)
            self._give_back(consumer, list(self._claims.values()))
        except Exception as error:  # noqa: BLE001  whatever ends this thread ends the member, and must be seen
            log.exception("a Kafka consumer has ended", group=self._group)
            self._soon(self._ended, error)
        finally:
            consumer.close()
            self._soon(self._closed.set)

    def _begin_group(self, consumer: Consumer) -> None:
        """
        Commit, for a group that has no offset at all, where it begins in every partition.

        Kafka refuses it while the group has members: whoever joined first has done it.
        """
        told = False
        while not self._leaving.is_set():
            try:
                known = consumer.list_topics(self._topic, timeout=_WITHIN).topics[self._topic]
                if known.error is not None:
                    raise KafkaException(known.error)
                parts = [TopicPartition(self._topic, number) for number in known.partitions]
                if all(one.offset == OFFSET_INVALID for one in consumer.committed(parts, timeout=_WITHIN)):
                    hindmost = self._hindmost()
                    for part in parts:
                        end = consumer.get_watermark_offsets(part, timeout=_WITHIN)[1]
                        part.offset = hindmost.get(part.partition, end)
                    consumer.commit(offsets=parts, asynchronous=False)
                return
            except KafkaException as error:
                if code(error) == KafkaError.UNKNOWN_MEMBER_ID:
                    continue
                if not told:
                    log.warning("waiting for Kafka", group=self._group, why=reason(error))
                    told = True
                self._leaving.wait(0.5)

    def _hindmost(self) -> Mapping[int, int]:
        """Where the last of the groups whose work this one takes over stands, by partition."""
        admin = AdminClient(self._cluster.settings())
        found: dict[int, int] = {}
        asked = [
            admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)], request_timeout=_WITHIN)[name]
            for name in self._earlier
        ]
        for answer in asked:
            for one in answer.result().topic_partitions:
                if one.topic == self._topic and one.offset >= 0:
                    found[one.partition] = min(one.offset, found.get(one.partition, one.offset))
        return found

    def _look_at(self, messages: Sequence[Message]) -> None:
        """Pick what passes a filter; a record that is no event is skipped, as the real broker does."""
        picked: dict[Claim, list[LoggedEvent]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                log.warning("Kafka", group=self._group, why=error.str())
                continue
            partition, offset = cast(int, message.partition()), cast(int, message.offset())
            claim = self._claims.get(partition)
            if claim is None:
                continue
            headers = cast(RecordHeaders | None, message.headers())
            passes = self._match(headers)
            if passes is not False:
                try:
                    event = from_record(headers, message.value())
                    if passes or any(filter.items() <= event.attributes.items() for filter in self._filters):
                        picked.setdefault(claim, []).append(LoggedEvent(offset, event, partition))
                except BadEvent as broken:
                    log.warning(
                        "a record is no event and is skipped",
                        group=self._group,
                        partition=partition,
                        offset=offset,
                        why=str(broken),
                    )
            self._looked_at[claim] = offset + 1
        if picked:
            self._hand_over(picked)

    def _hand_over(self, picked: Mapping[Claim, Sequence[LoggedEvent]]) -> None:
        fetched = [Fetched(claim, picked.get(claim, ()), read) for claim, read in self._looked_at.items()]
        self._looked_at = {}
        self._handed += sum(len(one.records) for one in fetched)
        self._soon(self._arrived, fetched)

    def _report(self, consumer: Consumer) -> None:
        """What needs no hurry: events that do not concern us wake nobody."""
        self._report_at = monotonic() + _REPORT
        if self._looked_at:
            self._hand_over({})
        heads = {}
        for claim in self._claims.values():
            _, high = consumer.get_watermark_offsets(TopicPartition(self._topic, claim.partition), cached=True)
            heads[claim] = max(high, claim.start)
        self._heads = heads

    def _send_commit(self, consumer: Consumer) -> None:
        finished, self._to_commit = self._to_commit or {}, None
        offsets = self._offsets({claim: offset for claim, offset in finished.items() if claim.held})
        try:
            if offsets:
                consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._soon(self._commit_ended, None)
        except KafkaException as error:
            self._soon(self._commit_ended, error.args[0])

    def _wait_for_room(self, consumer: Consumer) -> None:
        """Polling has to go on, or Kafka takes the member for stuck; a short wait needs no pause."""
        until = monotonic() + _PATIENCE
        while self._handed - self._taken >= _LYING and not self._leaving.is_set():
            self._room.clear()
            if self._handed - self._taken < _LYING:
                break
            self._room.wait(_POLL)
            if monotonic() > until:
                if not self._paused:
                    self._paused = True
                    consumer.pause(consumer.assignment())
                # Rebalances are served here; of paused partitions nothing comes.
                stray = consumer.poll(0)
                if stray is not None:
                    self._look_at([stray])
        if self._paused:
            self._paused = False
            consumer.resume(consumer.assignment())

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        starts = self._starts(consumer, partitions)
        for part in starts:
            self._claims[part.partition] = Claim(part.partition, max(part.offset, 0))
        consumer.incremental_assign(starts)
        if self._paused:
            consumer.pause(starts)
        claims = [self._claims[part.partition] for part in starts]
        self._soon(self._arrived, [Fetched(claim, (), claim.start) for claim in claims])
        self._soon(self._has_share)
        log.info("partitions taken", group=self._group, partitions=sorted(part.partition for part in partitions))

    def _starts(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        while partitions:
            try:
                return consumer.committed(partitions, timeout=_WITHIN)
            except KafkaException as error:
                log.warning("Kafka does not tell the offsets; trying again", group=self._group, why=reason(error))
                if self._leaving.wait(0.5):
                    break
        return []

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_back(consumer, [self._claims[one.partition] for one in partitions if one.partition in self._claims])
        log.info("partitions given up", group=self._group, partitions=sorted(part.partition for part in partitions))

    def _give_back(self, consumer: Consumer, claims: Collection[Claim]) -> None:
        if not claims:
            return
        self._end_of(claims)
        finished = asyncio.run_coroutine_threadsafe(self._last_word(claims), self._loop).result()
        until = monotonic() + _WITHIN
        while finished:
            try:
                consumer.commit(offsets=self._offsets(finished), asynchronous=False)
                return
            except KafkaException as error:
                if code(error) not in _REBALANCING or not self._leaving.is_set() or monotonic() > until:
                    log.warning("last offsets not committed", group=self._group, why=reason(error))
                    return
            # Who leaves in the middle of a rebalance goes through it first; what comes is for the next holder.
            consumer.poll(0.05)

    def _end_of(self, claims: Collection[Claim]) -> None:
        for claim in claims:
            claim.held = False
            self._claims.pop(claim.partition, None)
            self._looked_at.pop(claim, None)

    async def _last_word(self, claims: Collection[Claim]) -> Mapping[Claim, int]:
        return await self._let_go(claims)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Others have them already: there is nothing to commit and nobody to wait for."""
        claims = [self._claims[one.partition] for one in partitions if one.partition in self._claims]
        self._end_of(claims)
        if claims:
            log.warning("partitions lost", group=self._group, partitions=sorted(claim.partition for claim in claims))
            asyncio.run_coroutine_threadsafe(self._last_word(claims), self._loop)

    def _committed(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        self._soon(self._commit_ended, error)

    def _failed(self, error: KafkaError) -> None:
        if error.code() == KafkaError.INVALID_SESSION_TIMEOUT:
            log.error("the session is shorter than the broker's group.min.session.timeout.ms", group=self._group)
        elif error.fatal() or error.code() == KafkaError._ALL_BROKERS_DOWN:
            log.warning("Kafka", group=self._group, why=error.str())

    def _soon(self, call: "object", *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)  # type: ignore[arg-type]
        except RuntimeError:  # the loop has ended
            self._leaving.set()
