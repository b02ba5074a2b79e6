"""
The broker of the embedded mode: reads the log and wakes functions as the Triggers say.

One feed reads the log once and hands each event to the Triggers that match; a Trigger without room falls
behind and reads for itself until it has caught up. Unordered, at least once: a group's committed offset is the
gap-free prefix of what it has finished. Nothing polls: an idle runner sleeps in ``RecordLog.read``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily

from events import CloudEvent
from shared.domain.errors import Unavailable
from shared.observability import metrics
from shared.observability.log import log as lines
from shared.ports.event_log import LoggedEvent, RecordLog
from shared.runtime.dispatch import Dispatch
from shared.runtime.subscriber import Subscriber
from shared.runtime.wiring import Trigger
from shared.runtime.wiring_error import WiringError

_BATCH = 500
_WAIT = 60.0
_PAUSE_AFTER_FAILURE = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """
    ``calls``: at once, for each Trigger, while they are answered in time; so many events, too, may wait for their
    first call beside a reader that Triggers share. ``unfinished``: begun events a Trigger may hold, those in retry
    included; with that many it stops reading. ``commit_every``: seconds, the window of a crash's duplicates.
    """

    calls: int = 100
    unfinished: int = 10_000
    commit_every: float = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a Trigger stands; offsets of the log, or their sums over the partitions that this process has."""

    trigger: Trigger
    read: int
    committed: int
    in_flight: int
    lag: int
    call_limit: int
    """Calls at once, at most, now."""


class Runner(Protocol):
    """What wakes functions, whatever the log is."""

    async def start(self) -> None: ...

    async def stop(self, grace: float = 10.0) -> None: ...

    def alive(self) -> tuple[bool, str]: ...

    def standings(self) -> list[Standing]: ...

    def collect(self) -> Iterable[GaugeMetricFamily]: ...


class TriggerRunner:
    def __init__(
        self,
        triggers: Iterable[Trigger],
        subscribers: Mapping[str, Subscriber],
        log: RecordLog,
        *,
        pace: Pace | None = None,
    ) -> None:
        """
        Args:
            subscribers: by the name of the service.

        Raises:
            WiringError: a Trigger's subscriber or dead letter sink is not among them.
        """
        self.log = log
        self.pace = pace or Pace()
        self._consumers = [
            _Consumer(self, trigger, dispatch_of(trigger, subscribers, log.append, self.pace)) for trigger in triggers
        ]
        self._by_type: dict[str, list[_Consumer]] = {}
        self._of_any_type = [consumer for consumer in self._consumers if consumer.type is None]
        for consumer in self._consumers:
            if consumer.type is not None:
                self._by_type[consumer.type] = []
        for kind, interested in self._by_type.items():
            interested += [consumer for consumer in self._consumers if consumer.type in (kind, None)]
        self.read = 0
        """The feed has handed out everything up to this offset."""
        self._feed: asyncio.Task[None] | None = None
        self._commit_timer: asyncio.TimerHandle | None = None
        self._committing: asyncio.Task[None] | None = None
        self._may_commit = asyncio.Lock()

    async def start(self) -> None:
        """
        Go on where each group has committed; a new group begins at the log's head.

        Raises:
            Unavailable: the log cannot be read.
        """
        self.read = await self.log.head()
        for consumer in self._consumers:
            group = consumer.trigger.group
            committed = await self.log.committed(group)
            if committed is None:
                # Written down now: a crash before its first event must not move its beginning.
                await self.log.commit(group, self.read)
                committed = self.read
            consumer.begin(committed)
        self._feed = asyncio.create_task(self._follow(), name="trigger feed")

    async def stop(self, grace: float = 10.0) -> None:
        """
        Read no more, give calls under way ``grace`` seconds, commit. What waited for a retry, or was cut, is
        delivered again at the next start.
        """
        if self._feed is not None:
            self._feed.cancel()
        calls: set[asyncio.Task[None]] = set()
        for consumer in self._consumers:
            calls |= consumer.stop()
        if calls:
            _, late = await asyncio.wait(calls, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        if self._commit_timer is not None:
            self._commit_timer.cancel()
        await self._commit()

    def alive(self) -> tuple[bool, str]:
        """Whether events flow, in the shape of func-python's hook."""
        if self._feed is None:
            return False, "not started"
        broken = self._feed.done() or any(consumer.broken for consumer in self._consumers)
        return (False, "a reader of the log has stopped, or an event broke its dispatch") if broken else (True, "alive")

    def standings(self) -> list[Standing]:
        return [
            Standing(
                trigger=consumer.trigger,
                read=consumer.read,
                committed=consumer.committed,
                in_flight=len(consumer.unfinished),
                lag=self.read - consumer.prefix,
                call_limit=consumer.call_limit,
            )
            for consumer in self._consumers
        ]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """prometheus_client's collector: asked when somebody scrapes, free otherwise."""
        return gauges(self.standings())

    async def _follow(self) -> None:
        while True:
            records = await read(self.log, after=self.read, wait=_WAIT)
            if records:
                self._hand_out(records)
                # Whoever appends from this very loop must get a turn before the next batch.
                await asyncio.sleep(0)

    def _hand_out(self, records: Sequence[LoggedEvent]) -> None:
        """One step without an await: after it, every Trigger that keeps up stands at ``self.read``."""
        by_type, of_any_type = self._by_type, self._of_any_type
        for record in records:
            attributes = record.event.attributes
            for consumer in by_type.get(attributes.get("type", ""), of_any_type):
                if consumer.keeps_up and consumer.wants(attributes):
                    consumer.offer(record)
        self.read = records[-1].offset
        self.moved()

    def moved(self) -> None:
        """Something may be committed now."""
        if self._commit_timer is None:
            loop = asyncio.get_running_loop()
            self._commit_timer = loop.call_later(self.pace.commit_every, self._commit_soon)

    def _commit_soon(self) -> None:
        self._commit_timer = None
        self._committing = asyncio.create_task(self._commit(), name="trigger commit")

    async def _commit(self) -> None:
        async with self._may_commit:
            for consumer in self._consumers:
                prefix = consumer.prefix
                if prefix > consumer.committed:
                    try:
                        await self.log.commit(consumer.trigger.group, prefix)
                    except Unavailable as error:
                        lines.warning("offsets not committed", trigger=consumer.trigger.name, why=error.detail)
                        self.moved()
                        return
                    consumer.committed = prefix


class _Consumer:
    """One consumer group: what it has read, what of it is unfinished."""

    def __init__(self, runner: TriggerRunner, trigger: Trigger, dispatch: Dispatch) -> None:
        self.trigger = trigger
        self.type = trigger.filter.get("type")
        self.keeps_up = False
        self.committed = 0
        self.unfinished: dict[int, asyncio.Task[None]] = {}
        """By offset; events begin in the log's order, so the first key is the oldest."""
        self._others = [(name, value) for name, value in trigger.filter.items() if name != "type"]
        self._defective = False
        """An event broke its dispatch, and holds back what is committed."""
        self._runner = runner
        self._dispatch = dispatch
        self._read = 0
        self._catching_up: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def call_limit(self) -> int:
        return self._dispatch.slots.limit

    @property
    def read(self) -> int:
        return self._runner.read if self.keeps_up else self._read

    @property
    def prefix(self) -> int:
        """Everything up to this offset is finished."""
        for oldest in self.unfinished:
            return oldest - 1
        return self.read

    @property
    def broken(self) -> bool:
        stopped = not self.keeps_up and self._catching_up is not None and self._catching_up.done()
        return stopped or self._defective

    def begin(self, committed: int) -> None:
        self.committed = committed
        self._fall_behind(committed)

    def wants(self, attributes: Mapping[str, str]) -> bool:
        """Whether the other attributes match; the feed has looked at the type."""
        for name, value in self._others:  # noqa: SIM110  a generator costs more than the comparison
            if attributes.get(name) != value:
                return False
        return True

    def offer(self, record: LoggedEvent) -> None:
        if len(self.unfinished) < self._runner.pace.unfinished and self._dispatch.slots.try_take():
            self._begin(record)
        else:
            self._fall_behind(record.offset - 1)

    def stop(self) -> set[asyncio.Task[None]]:
        """Begin nothing more; the calls that are under way."""
        if self._catching_up is not None:
            self._catching_up.cancel()
        calls = set(self.unfinished.values())
        self._dispatch.give_up(calls)
        return calls

    def _begin(self, record: LoggedEvent) -> None:
        self.unfinished[record.offset] = asyncio.create_task(self._finish(record))

    async def _finish(self, record: LoggedEvent) -> None:
        try:
            await self._dispatch(record)
        except Exception:  # noqa: BLE001  a defect of ours: the event stays unfinished, a restart repeats it
            self._defective = True
            lines.exception("dispatch broke", trigger=self.trigger.name, offset=record.offset)
            return
        del self.unfinished[record.offset]
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._runner.moved()

    def _fall_behind(self, read: int) -> None:
        self.keeps_up = False
        self._read = read
        self._catching_up = asyncio.create_task(self._catch_up(), name=f"catch up {self.trigger.name}")

    async def _catch_up(self) -> None:
        runner = self._runner
        while self._read < runner.read:
            records = await read(runner.log, after=self._read, wait=0)
            for record in records:
                if record.offset > runner.read:
                    break  # the feed has not handed it out yet and will offer it itself
                attributes = record.event.attributes
                if self.type in (None, attributes.get("type")) and self.wants(attributes):
                    await self._take_room()
                    self._begin(record)
                self._read = record.offset
            if not records or records[0].offset > runner.read:
                self._read = runner.read  # the rest was trimmed away
            runner.moved()
        self.keeps_up = True

    async def _take_room(self) -> None:
        while len(self.unfinished) >= self._runner.pace.unfinished:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        await self._dispatch.slots.take()


async def read(source: RecordLog, *, after: int, wait: float) -> Sequence[LoggedEvent]:
    """The next batch; a log that cannot answer is asked again until it does."""
    while True:
        try:
            return await source.read(after=after, limit=_BATCH, wait=wait)
        except Unavailable as error:
            lines.error("the log cannot be read; trying again", why=error.detail)
            await asyncio.sleep(_PAUSE_AFTER_FAILURE)


def dispatch_of(
    trigger: Trigger,
    subscribers: Mapping[str, Subscriber],
    append: Callable[[CloudEvent], Awaitable[None]],
    pace: Pace,
) -> Dispatch:
    """
    Raises:
        WiringError: the Trigger's subscriber or dead letter sink is not among ``subscribers``.
    """
    for service in (trigger.subscriber, trigger.delivery.dead_letter):
        if service is not None and service not in subscribers:
            raise WiringError(f"Trigger {trigger.name!r}: nothing serves {service!r} here")
    sink = trigger.delivery.dead_letter
    return Dispatch(
        trigger,
        subscribers[trigger.subscriber],
        subscribers[sink] if sink is not None else None,
        append,
        calls=pace.calls,
    )


def gauges(standings: Iterable[Standing]) -> list[GaugeMetricFamily]:
    lag, in_flight, call_limit = metrics.gauges(
        metrics.TRIGGER_LAG, metrics.TRIGGER_IN_FLIGHT, metrics.TRIGGER_CALL_LIMIT
    )
    for standing in standings:
        lag.add_metric([standing.trigger.name], standing.lag)
        in_flight.add_metric([standing.trigger.name], standing.in_flight)
        call_limit.add_metric([standing.trigger.name], standing.call_limit)
    return [lag, in_flight, call_limit]
