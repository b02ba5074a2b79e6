"""
Events handed to Kafka: in the broker's topic, acknowledged by all replicas in sync, never twice by one call.

librdkafka's producer batches and sends in threads of its own; a thread of ours waits for its reports and wakes
the event loop once for many of them. The library's own asyncio producer takes no headers.
"""

import asyncio
import threading
from collections import deque
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from events import CloudEvent, Event
from shared.adapters.kafka.binding import to_headers, to_key
from shared.adapters.kafka.cluster import Cluster, code, reason
from shared.domain.errors import TooLarge, Unavailable
from shared.observability.log import log
from shared.ports.event_sink import LARGEST_EVENT

_POLL = 0.2


class KafkaEventSink:
    """
    ``delivery_timeout``: seconds after which an event that Kafka has not taken is Unavailable. ``linger``: seconds
    that a batch waits for more. The first event connects, if ``connect`` has not begun it; close with ``close``.
    """

    def __init__(self, cluster: Cluster, topic: str, *, delivery_timeout: float = 10.0, linger: float = 0.001) -> None:
        self._topic = topic
        self._settings = cluster.settings(
            acks="all",
            enable_idempotence=True,
            linger_ms=linger * 1000,
            delivery_timeout_ms=int(delivery_timeout * 1000),
            message_max_bytes=LARGEST_EVENT,
            # As Java's clients do: whoever produces, a key is always in the same partition.
            partitioner="murmur2_random",
            error_cb=self._failed,
        )
        self._producer: Producer | None = None
        self._threads: set[threading.Thread] = set()
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: deque[_Handover] = deque()
        self._woken = False

    def connect(self) -> None:
        """
        Begin to, and wait for nothing: librdkafka asks for the id of an idempotent producer half a second after it was
        made, when it found no broker connected at once, and the first event would wait for that.
        """
        if self._producer is None:
            self._open()

    async def emit(self, *events: Event[Any]) -> None:
        await self.append(*(event.to_cloudevent() for event in events))

    async def append(self, *events: CloudEvent) -> None:
        """
        Raises:
            Unavailable: some may not have been taken; append all again.
            TooLarge: an event is above 1 MiB; those before it may have been taken.
        """
        if not events:
            return
        producer = self._producer or self._open()
        self._loop = asyncio.get_running_loop()
        handover = _Handover(self, len(events), self._loop.create_future())
        try:
            for event in events:
                producer.produce(
                    self._topic,
                    event.data or None,
                    to_key(event),
                    headers=to_headers(event),
                    on_delivery=handover.reported,
                )
        except BufferError:
            raise Unavailable("too many events wait for Kafka; try again") from None
        except KafkaException as error:
            if code(error) == KafkaError.MSG_SIZE_TOO_LARGE:
                raise TooLarge(f"an event is larger than {LARGEST_EVENT} bytes") from error
            raise Unavailable(f"Kafka takes no events: {reason(error)}") from error
        await handover.ended

    async def close(self, grace: float = 10.0) -> None:
        """Wait up to ``grace`` seconds for what is under way."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.to_thread(producer.flush, grace)
        self._closing = True
        for thread in list(self._threads):
            await asyncio.to_thread(thread.join)

    def _open(self) -> Producer:
        if self._closing:
            raise Unavailable("the connection to Kafka is closed")
        producer = self._producer = Producer(self._settings)
        thread = threading.Thread(target=self._serve, args=(producer,), name="kafka reports", daemon=True)
        self._threads.add(thread)
        thread.start()
        return producer

    def _serve(self, producer: Producer) -> None:
        while not self._closing and (producer is self._producer or len(producer)):
            producer.poll(_POLL)
        self._threads.discard(threading.current_thread())

    def _failed(self, error: KafkaError) -> None:
        if error.fatal():
            # Its sequence numbers and the broker's no longer agree: it will never send again.
            log.error("a Kafka producer broke and is replaced", why=error.str())
            self._producer = None
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            log.warning("no broker of Kafka can be reached", why=error.str())

    def _end(self, handover: "_Handover") -> None:
        """In the thread of the reports."""
        self._ended.append(handover)
        if not self._woken and self._loop is not None:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop has ended, nobody waits any more
                return

    def _wake(self) -> None:
        self._woken = False
        while self._ended:
            handover = self._ended.popleft()
            if handover.ended.done():
                continue
            if handover.error is None:
                handover.ended.set_result(None)
            else:
                handover.ended.set_exception(Unavailable(f"Kafka did not take an event: {handover.error.str()}"))


class _Handover:
    """The events of one call; ``ended`` once all were reported. Counted by the thread of the reports alone."""

    __slots__ = ("_left", "_sink", "ended", "error")

    def __init__(self, sink: KafkaEventSink, count: int, ended: asyncio.Future[None]) -> None:
        self._sink = sink
        self._left = count
        self.ended = ended
        self.error: KafkaError | None = None

    def reported(self, error: KafkaError | None, message: object) -> None:
        if error is not None:
            self.error = error
        self._left -= 1
        if self._left == 0:
            self._sink._end(self)
