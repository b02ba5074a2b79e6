"""
One event through one Trigger: called, retried, replied to, dead-lettered as the observed Kafka broker does.

Better than the real one in two points: a dead letter whose sink fails is kept and tried again until it is taken, and
where calls are not answered in time fewer are made at once (ADR 46).
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import Any
from weakref import WeakSet

from events.cloudevent import BadEvent, CloudEvent, from_http
from shared.domain.errors import Unavailable
from shared.observability import metrics
from shared.observability.log import log
from shared.ports.event_log import LoggedEvent
from shared.runtime.slots import Slots
from shared.runtime.subscriber import Answer, Headers, Subscriber
from shared.runtime.wiring import Trigger

KEEP_AT_MOST = 60.0
"""Longest pause, in seconds, between two tries of a dead letter sink that fails."""
_ERROR_DATA = 1024
_RETRIED = frozenset((404, 408, 409, 429))
_GATEWAY_TIMEOUT = 504
"""A proxy's word for no answer in time."""
_TOO_MANY_REQUESTS = 429
_NEARLY = 0.9
"""A call that ends without an answer after this part of its time ran out of it; one that was refused took less."""


class Fate(Enum):
    DONE = "done"
    AGAIN = "again"
    DEAD = "dead"
    GARBLED = "garbled"  # a 2xx whose body is no event: dead at once, and the answer is not quoted


def fate(answer: Answer | None) -> Fate | CloudEvent:
    """
    What an answer means to the broker; an event is a reply, to be appended to the log.

    >>> fate(Answer(204)), fate(Answer(200, (), b"OK")), fate(Answer(429)), fate(Answer(302)), fate(None)
    (<Fate.DONE: 'done'>, <Fate.GARBLED: 'garbled'>, <Fate.AGAIN: 'again'>, <Fate.DEAD: 'dead'>, <Fate.AGAIN: 'again'>)
    """
    if answer is None:
        return Fate.AGAIN
    status = answer.status
    if 200 <= status < 300:
        if not answer.body and not any(name == b"ce-id" for name, _ in answer.headers):
            return Fate.DONE
        try:
            return from_http(answer.headers, answer.body)
        except BadEvent:
            return Fate.GARBLED
    return Fate.AGAIN if status >= 500 or status in _RETRIED else Fate.DEAD


def in_time(answer: Answer | None, took: float, timeout: float | None) -> bool | None:
    """
    Whether a call was answered in time; None: it says nothing about that, as a service that is away or is ill itself.

    >>> in_time(Answer(204), 9.9, 10), in_time(None, 10.0, 10), in_time(None, 0.1, 10), in_time(Answer(503), 0.1, 10)
    (True, False, None, None)
    """
    if answer is None:
        return False if timeout is not None and took >= _NEARLY * timeout else None
    if answer.status == _GATEWAY_TIMEOUT:
        return False
    return None if answer.status >= 500 or answer.status == _TOO_MANY_REQUESTS else True


class Dispatch:
    """
    One Trigger's calls, each event in a task of its own. ``slots`` bounds the calls under way; an event that
    pauses before a retry holds none. ``append`` takes the events that subscribers answer with.
    """

    def __init__(
        self,
        trigger: Trigger,
        subscriber: Subscriber,
        sink: Subscriber | None,
        append: Callable[[CloudEvent], Awaitable[None]],
        *,
        calls: int,
    ) -> None:
        self.slots = Slots(calls)
        self._first_in_turn = asyncio.Lock()
        self._pausing: set[asyncio.Task[None]] = set()
        self._given_up: WeakSet[asyncio.Task[None]] = WeakSet()
        self._trigger = trigger
        self._delivery = trigger.delivery
        self._subscriber = subscriber
        self._sink = sink
        self._append = append
        self._retried = metrics.events_retried.labels(trigger.name)
        self._dead = metrics.events_dead.labels(trigger.name)
        self._late = metrics.calls_late.labels(trigger.name)
        self._lost = metrics.events_lost.labels(trigger.name)
        self._constant: Headers = [
            (b"prefer", b"reply"),
            (b"kn-namespace", trigger.namespace.encode()),
        ]

    async def __call__(self, record: LoggedEvent) -> None:
        """Finish ``record``: when this returns it is done, dead-lettered or lost. Enter with one slot taken."""
        place = {"knativekafkapartition": str(record.partition), "knativekafkaoffset": str(record.offset)}
        event = CloudEvent({**record.event.attributes, **place}, record.event.data)
        delivery = self._delivery
        retries = 0
        while True:
            answer = await self._call(event)
            meant = fate(answer)
            if meant is Fate.DONE:
                return
            if isinstance(meant, CloudEvent):
                if await self._replied(meant):
                    return
                meant = Fate.AGAIN
            if meant is not Fate.AGAIN or retries == delivery.retry:
                break
            retries += 1
            self._retried.inc()
            await self._pause(delivery.pause(retries))
            await self._take()
        await self._bury(event, None if meant is Fate.GARBLED else answer)

    def give_up(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Cancel what pauses, let calls under way come to their end and try nothing again."""
        self._given_up.update(tasks)
        for task in self._pausing.intersection(self._given_up):
            task.cancel()

    async def _call(self, event: CloudEvent) -> Answer | None:
        """Gives back the slot that was taken for it."""
        now = asyncio.get_running_loop().time
        timeout, begun, began = self._delivery.timeout, self.slots.round, now()
        try:
            answer = await self._subscriber.call(event, self._constant, timeout)
            judged = in_time(answer, now() - began, timeout)
            if judged:
                self.slots.answered()
            elif judged is False:
                self._late.inc()
                if self.slots.late(begun):
                    log.info(
                        "not answered in time: fewer calls at once", trigger=self._trigger.name, calls=self.slots.limit
                    )
            return answer
        finally:
            self.slots.give()

    async def _replied(self, reply: CloudEvent) -> bool:
        try:
            await self._append(reply)
        except Unavailable as error:
            log.warning("a reply could not be appended", trigger=self._trigger.name, why=error.detail)
            return False
        return True

    async def _bury(self, event: CloudEvent, answer: Answer | None) -> None:
        facts: dict[str, Any] = {
            "trigger": self._trigger.name,
            "event_id": event.attributes.get("id"),
            "event_type": event.attributes.get("type"),
            "tenant": event.attributes.get("tenant"),
            "status": answer.status if answer else None,
        }
        if self._sink is None:
            self._lost.inc()
            log.error("event lost: its Trigger has no dead letter sink", **facts)
            return
        self._dead.inc()
        log.warning("event goes to the dead letter sink", **facts)
        letter = CloudEvent({**event.attributes, **_error(self._subscriber.address, answer)}, event.data)
        tries = 0
        while True:
            await self._take()
            try:
                answer = await self._sink.call(letter, self._constant, self._delivery.timeout)
            finally:
                self.slots.give()
            meant = fate(answer)
            if meant is Fate.DONE or (isinstance(meant, CloudEvent) and await self._replied(meant)):
                return
            tries += 1
            pause = self._delivery.pause(min(tries, 20))
            if tries > self._delivery.retry:
                pause = min(max(pause, 1.0), KEEP_AT_MOST)
            log.error("the dead letter sink failed; the event is kept", tries=tries, again_in=pause, **facts)
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        await self._aside(asyncio.sleep(seconds))

    async def take_first(self) -> None:
        """
        A slot for the first call of an event; it may be given up meanwhile. Of all that wait for theirs one stands
        in the queue, so that what was begun before them, and is to be tried again or buried, comes soon.
        """
        if self._first_in_turn.locked() or not self.slots.try_take():
            await self._aside(self._take_in_turn())

    async def _take_in_turn(self) -> None:
        async with self._first_in_turn:
            await self.slots.take()

    async def _take(self) -> None:
        if not self.slots.try_take():
            await self._aside(self.slots.take())

    async def _aside(self, waiting: Awaitable[None]) -> None:
        """Wait between calls, where giving up may cut without interrupting a function."""
        task = asyncio.current_task()
        assert task is not None
        if task in self._given_up:
            task.cancel()
        self._pausing.add(task)
        try:
            await waiting
        finally:
            self._pausing.discard(task)


def _error(address: str, answer: Answer | None) -> dict[str, str]:
    error = {"knativeerrordest": address}
    if answer is not None:
        error["knativeerrorcode"] = str(answer.status)
        if answer.body:
            error["knativeerrordata"] = base64.b64encode(answer.body[:_ERROR_DATA]).decode("ascii")
    return error
