"""
Looking back at the topic, and following it: for operators, never for delivery.

Each question is answered by a reader of its own (log_reader.py), in a thread. Who follows may miss an event whose
copies took longer than ``SETTLE``, which was fetched later by more, or whose node's clock is behind by more; a scan
sees it all the same.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic

from confluent_kafka import Consumer, KafkaError, KafkaException

from shared.adapters.kafka.binding import RecordHeaders
from shared.adapters.kafka.cluster import Cluster, code, reason
from shared.adapters.kafka.log_reader import WITHIN, LogReader, everything, moment_of
from shared.domain.errors import Unavailable
from shared.observability.log import log
from shared.ports.event_log import LOOK_BACK, LoggedEvent

_PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
}
_READERS = 8
_BROKEN = 100
"""Records at the end of the topic that are no events, beyond which the newest are not found any more."""


def appended_at(position: int) -> float:
    """When Kafka appended the event that has this offset in a KafkaEventLog, in seconds since 1970."""
    return moment_of(position) / 1000


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
        self._warned = False

    async def read(self, *, after: int, limit: int, wait: float = 0) -> Sequence[LoggedEvent]:
        return await self._ask(lambda reader: reader.after(after, limit, wait)) if limit else []

    async def latest(
        self, limit: int, *, before: int | None = None, tenant: str | None = None
    ) -> Sequence[LoggedEvent]:
        named = tenant.encode() if tenant is not None else None

        def of_tenant(headers: RecordHeaders) -> bool:
            return ("ce_tenant", named) in headers

        wanted, back = (everything, limit + _BROKEN) if tenant is None else (of_tenant, LOOK_BACK)
        return await self._ask(lambda reader: reader.latest(wanted, back, limit, before)) if limit else []

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

    async def _ask(self, question: Callable[[LogReader], list[LoggedEvent]]) -> list[LoggedEvent]:
        given_up = threading.Event()

        def answer() -> list[LoggedEvent]:
            until = monotonic() + WITHIN
            while True:
                try:
                    with _consumer(self._settings) as consumer:
                        reader = LogReader(consumer, self._topic, given_up)
                        found = question(reader)
                        self._warn_of(reader)
                        return found
                except KafkaException as error:
                    # A partition whose leader is just being chosen: that passes.
                    if code(error) not in _PASSING or monotonic() > until or given_up.wait(0.1):
                        raise Unavailable(f"the event log cannot be read: {reason(error)}") from error

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, answer)
        except asyncio.CancelledError:
            given_up.set()
            raise

    def _warn_of(self, reader: LogReader) -> None:
        if reader.producers_times and not self._warned:
            self._warned = True
            log.warning(
                "followers may miss events, and the order may be another: the topic has its producers' times;"
                " set message.timestamp.type=LogAppendTime for it",
                topic=self._topic,
            )


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
