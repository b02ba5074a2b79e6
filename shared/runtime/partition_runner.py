"""
The broker of the servers mode: each service that Triggers call is a consumer group over the partitions of one topic.

A record is read once for all Triggers of a service and begun by each that it concerns. Any number of processes may
run the same services; they share the partitions. Unordered inside a partition too, at least once: committed is the
gap-free prefix of what every Trigger of the service has finished. The calls themselves are ``Dispatch``'s, as in the
embedded mode.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b

from prometheus_client.core import GaugeMetricFamily

from events import CloudEvent
from shared.domain.errors import Unavailable
from shared.observability.log import log
from shared.ports.consumer_groups import Claim, ConsumerGroups, Fetched, GroupMember
from shared.ports.event_log import LoggedEvent
from shared.runtime.dispatch import Dispatch
from shared.runtime.subscriber import Subscriber
from shared.runtime.trigger_runner import Pace, Standing, dispatch_of, gauges
from shared.runtime.wiring import Trigger

_PARTING = 5.0
"""Seconds that a stop waits for the log beside the calls under way; librdkafka alone would wait for ever."""


class PartitionRunner:
    def __init__(
        self,
        triggers: Iterable[Trigger],
        subscribers: Mapping[str, Subscriber],
        groups: ConsumerGroups,
        append: Callable[[CloudEvent], Awaitable[None]],
        *,
        pace: Pace | None = None,
        drain: float = 5.0,
    ) -> None:
        """
        Args:
            triggers: of a service all that there are: its members must agree on what concerns them.
            subscribers: by the name of the service.
            append: takes the events that subscribers answer with (``EventSink.append``).
            drain: seconds that calls under way have when their partition goes to another process.

        Raises:
            WiringError: a Trigger's subscriber or dead letter sink is not among them.
        """
        pace = pace or Pace()
        of_service: dict[str, list[_Calls]] = {}
        for trigger in triggers:
            calls = _Calls(trigger, dispatch_of(trigger, subscribers, append, pace), pace)
            of_service.setdefault(trigger.service_group, []).append(calls)
        self._groups = [
            _Group(
                groups.member(
                    name,
                    [one.trigger.filter for one in calls],
                    instead_of=[one.trigger.group for one in calls],
                ),
                calls,
                pace,
                drain,
            )
            for name, calls in of_service.items()
        ]

    async def start(self) -> None:
        """Join every group; a Kafka that is down is waited for."""
        await asyncio.gather(*(group.start() for group in self._groups))

    async def stop(self, grace: float = 10.0) -> None:
        """
        Leave every group: begin nothing more, give calls under way ``grace`` seconds, commit. What waited for a
        retry, or was cut, is delivered again to whoever takes over; where the log does not answer, so is what was
        finished last.
        """
        await asyncio.gather(*(group.stop(grace) for group in self._groups))

    def alive(self) -> tuple[bool, str]:
        """Whether events flow, in the shape of func-python's hook."""
        for group in self._groups:
            well, detail = group.alive()
            if not well:
                return False, f"{group.service}: {detail}"
        return True, "alive"

    def standings(self) -> list[Standing]:
        return [standing for group in self._groups for standing in group.standings()]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """prometheus_client's collector: asked when somebody scrapes, free otherwise."""
        return gauges(self.standings())


def fingerprint(filters: Iterable[Mapping[str, str]]) -> str:
    """
    Eight digits that change with the filters, and not with their order.

    >>> a, b = {"type": "a"}, {"type": "b", "channel": "whatsapp"}
    >>> fingerprint([a, b]) == fingerprint([b, a]), fingerprint([a, b]) == fingerprint([a])
    (True, False)
    """
    told = sorted(json.dumps(one, sort_keys=True) for one in map(dict, filters))
    return blake2b("\n".join(told).encode(), digest_size=4).hexdigest()


class _Calls:
    """One Trigger of a group, and the room that it has for events."""

    def __init__(self, trigger: Trigger, dispatch: Dispatch, pace: Pace) -> None:
        self.trigger = trigger
        self.dispatch = dispatch
        self.unfinished = 0
        self._most = pace.unfinished
        # So many may wait for their first call before the service's other Triggers wait too, however few it makes.
        self._ahead = asyncio.Semaphore(pace.calls)
        self._room: asyncio.Future[None] | None = None

    def wants(self, attributes: Mapping[str, str]) -> bool:
        return self.trigger.wants(attributes)

    async def take_room(self) -> None:
        while self.unfinished >= self._most:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        await self._ahead.acquire()

    def leave_room(self) -> None:
        """What room was taken for is not begun."""
        self._ahead.release()

    async def finish(self, record: LoggedEvent) -> None:
        try:
            await self.dispatch.take_first()
        finally:
            self._ahead.release()
        await self.dispatch(record)

    def give_room(self) -> None:
        self.unfinished -= 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


class _Progress:
    """What of one claim is finished."""

    __slots__ = ("broken", "committed", "read", "unfinished")

    def __init__(self, start: int, calls: Iterable[_Calls]) -> None:
        self.read = start
        """Every event before this offset has been begun by all whom it concerns."""
        self.committed = start
        self.broken: list[_Calls] = []
        """Of each event that stays unfinished by a defect, whose it is."""
        self.unfinished: dict[_Calls, dict[int, asyncio.Task[None]]] = {one: {} for one in calls}
        """By offset; events begin in the order of the partition, so the first key is the oldest."""

    def finished_by(self, calls: _Calls) -> int:
        """This Trigger has finished everything before this offset."""
        return next(iter(self.unfinished[calls]), self.read)

    @property
    def finished(self) -> int:
        """All have finished everything before this offset."""
        return min(map(self.finished_by, self.unfinished))

    def tasks(self) -> set[asyncio.Task[None]]:
        return {task for unfinished in self.unfinished.values() for task in unfinished.values()}


class _Group:
    def __init__(self, member: GroupMember, calls: Sequence[_Calls], pace: Pace, drain: float) -> None:
        self.service = calls[0].trigger.subscriber
        self._member = member
        self._calls = calls
        self._pace = pace
        self._drain = drain
        self._progress: dict[Claim, _Progress] = {}
        self._following: asyncio.Task[None] | None = None
        self._commit_timer: asyncio.TimerHandle | None = None
        self._committing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        # Members with other filters pass over, and commit, what only these want: who looks for that finds it here.
        filters = fingerprint(one.trigger.filter for one in self._calls)
        log.info("joins the group of a service", service=self.service, triggers=len(self._calls), filters=filters)
        await self._member.join(self._let_go)
        self._following = asyncio.create_task(self._follow(), name=f"follow {self.service}")

    async def stop(self, grace: float) -> None:
        self._drain = grace
        for task in (self._following, self._committing):
            if task is not None:
                task.cancel()
        if self._commit_timer is not None:
            self._commit_timer.cancel()
        # Now: a log that is away asks for its claims late, or never.
        self._give_up({task for progress in self._progress.values() for task in progress.tasks()})
        try:
            async with asyncio.timeout(grace + _PARTING):
                await self._member.leave()
        except TimeoutError:
            log.warning("left without a last word: the log does not answer", service=self.service)

    def alive(self) -> tuple[bool, str]:
        if self._following is None:
            return False, "not started"
        if self._following.done():
            return False, "its reader has stopped"
        if any(progress.broken for progress in self._progress.values()):
            return False, "an event broke its dispatch, and holds back what is committed"
        return True, "alive"

    def standings(self) -> Iterable[Standing]:
        heads, progress = self._member.heads(), self._progress
        read = sum(one.read for one in progress.values())
        committed = sum(one.committed for one in progress.values())
        for calls in self._calls:
            lag = sum(max(heads.get(claim, 0) - one.finished_by(calls), 0) for claim, one in progress.items())
            yield Standing(calls.trigger, read, committed, calls.unfinished, lag, calls.dispatch.slots.limit)

    async def _follow(self) -> None:
        while True:
            for fetched in await self._member.fetch():
                await self._begin_all(fetched)

    async def _begin_all(self, fetched: Fetched) -> None:
        progress = self._progress_of(fetched.claim)
        if progress is None:
            return
        for record in fetched.records:
            attributes = record.event.attributes
            for calls in self._calls:
                if calls.wants(attributes):
                    await calls.take_room()
                    if not fetched.claim.held:
                        calls.leave_room()
                        return
                    self._begin(calls, progress, record)
            progress.read = record.offset + 1
        progress.read = fetched.read
        self._moved()

    def _progress_of(self, claim: Claim) -> _Progress | None:
        if not claim.held:
            return None
        progress = self._progress.get(claim)
        if progress is None:
            progress = self._progress[claim] = _Progress(claim.start, self._calls)
        return progress

    def _begin(self, calls: _Calls, progress: _Progress, record: LoggedEvent) -> None:
        calls.unfinished += 1
        task = asyncio.create_task(self._finish(calls, progress, record))
        progress.unfinished[calls][record.offset] = task

    async def _finish(self, calls: _Calls, progress: _Progress, record: LoggedEvent) -> None:
        try:
            await calls.finish(record)
        except Exception:  # noqa: BLE001  a defect of ours: the event stays unfinished until somebody else has its partition
            progress.broken.append(calls)
            name = calls.trigger.name
            log.exception("dispatch broke", trigger=name, partition=record.partition, offset=record.offset)
            return
        except asyncio.CancelledError:
            calls.give_room()
            raise
        del progress.unfinished[calls][record.offset]
        calls.give_room()
        self._moved()

    async def _let_go(self, claims: Collection[Claim]) -> Mapping[Claim, int]:
        given_up = {claim: self._progress.pop(claim) for claim in claims if claim in self._progress}
        tasks = {task for progress in given_up.values() for task in progress.tasks()}
        self._give_up(tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._drain)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for progress in given_up.values():
            for calls in progress.broken:
                calls.give_room()
        return {claim: progress.finished for claim, progress in given_up.items()}

    def _give_up(self, tasks: Collection[asyncio.Task[None]]) -> None:
        for calls in self._calls:
            calls.dispatch.give_up(tasks)

    def _moved(self) -> None:
        """Something may be committed now."""
        if self._commit_timer is None:
            loop = asyncio.get_running_loop()
            self._commit_timer = loop.call_later(self._pace.commit_every, self._commit_soon)

    def _commit_soon(self) -> None:
        self._commit_timer = None
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit(), name=f"commit {self.service}")
        else:
            self._moved()  # Kafka is slow to answer the last one

    async def _commit(self) -> None:
        finished = {claim: progress.finished for claim, progress in self._progress.items()}
        moved = {claim: offset for claim, offset in finished.items() if offset > self._progress[claim].committed}
        if not moved:
            return
        try:
            kept = await self._member.commit(moved)
        except Unavailable as error:
            log.warning("offsets not committed", service=self.service, why=error.detail)
            kept = False
        if not kept:
            self._moved()
            return
        for claim, offset in moved.items():
            progress = self._progress.get(claim)
            if progress is not None:
                progress.committed = offset
