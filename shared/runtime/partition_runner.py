"""
The broker of the servers mode: each Trigger is a consumer group over the partitions of one topic.

Any number of processes may run the same Triggers; they share the partitions. Unordered inside a partition too, at
least once: committed is the gap-free prefix of what is finished. The calls themselves are ``Dispatch``'s, as in
the embedded mode.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

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
            subscribers: by the name of the service.
            append: takes the events that subscribers answer with (``EventSink.append``).
            drain: seconds that calls under way have when their partition goes to another process.

        Raises:
            WiringError: a Trigger's subscriber or dead letter sink is not among them.
        """
        pace = pace or Pace()
        self._groups = [
            _Group(
                trigger,
                groups.member(trigger.group, trigger.filter),
                dispatch_of(trigger, subscribers, append, pace),
                pace,
                drain,
            )
            for trigger in triggers
        ]

    async def start(self) -> None:
        """Join every group; a Kafka that is down is waited for."""
        await asyncio.gather(*(group.start() for group in self._groups))

    async def stop(self, grace: float = 10.0) -> None:
        """
        Leave every group: begin nothing more, give calls under way ``grace`` seconds, commit. What waited for a
        retry, or was cut, is delivered again to whoever takes over.
        """
        await asyncio.gather(*(group.stop(grace) for group in self._groups))

    def alive(self) -> tuple[bool, str]:
        """Whether events flow, in the shape of func-python's hook."""
        for group in self._groups:
            well, detail = group.alive()
            if not well:
                return False, f"{group.trigger.name}: {detail}"
        return True, "alive"

    def standings(self) -> list[Standing]:
        return [group.standing() for group in self._groups]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """prometheus_client's collector: asked when somebody scrapes, free otherwise."""
        return gauges(self.standings())


class _Progress:
    """What of one claim is finished."""

    __slots__ = ("committed", "read", "unfinished")

    def __init__(self, start: int) -> None:
        self.read = start
        """Every event before this offset has been begun, or concerns us not."""
        self.committed = start
        self.unfinished: dict[int, asyncio.Task[None]] = {}
        """By offset; events begin in the order of the partition, so the first key is the oldest."""

    @property
    def finished(self) -> int:
        """Everything before this offset is."""
        for oldest in self.unfinished:
            return oldest
        return self.read


class _Group:
    def __init__(self, trigger: Trigger, member: GroupMember, dispatch: Dispatch, pace: Pace, drain: float) -> None:
        self.trigger = trigger
        self._member = member
        self._dispatch = dispatch
        self._pace = pace
        self._drain = drain
        self._progress: dict[Claim, _Progress] = {}
        self._unfinished = 0
        self._room: asyncio.Future[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._commit_timer: asyncio.TimerHandle | None = None
        self._committing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._member.join(self._let_go)
        self._following = asyncio.create_task(self._follow(), name=f"follow {self.trigger.name}")

    async def stop(self, grace: float) -> None:
        self._drain = grace
        for task in (self._following, self._committing):
            if task is not None:
                task.cancel()
        if self._commit_timer is not None:
            self._commit_timer.cancel()
        await self._member.leave()

    def alive(self) -> tuple[bool, str]:
        if self._following is None:
            return False, "not started"
        return (False, "its reader has stopped") if self._following.done() else (True, "alive")

    def standing(self) -> Standing:
        heads, progress = self._member.heads(), self._progress
        return Standing(
            trigger=self.trigger,
            read=sum(one.read for one in progress.values()),
            committed=sum(one.committed for one in progress.values()),
            in_flight=self._unfinished,
            lag=sum(max(heads.get(claim, 0) - one.finished, 0) for claim, one in progress.items()),
        )

    async def _follow(self) -> None:
        while True:
            for fetched in await self._member.fetch():
                await self._begin_all(fetched)

    async def _begin_all(self, fetched: Fetched) -> None:
        claim = fetched.claim
        for record in fetched.records:
            await self._take_room()
            progress = self._progress_of(claim)
            if progress is None:
                self._dispatch.slots.give()
                return
            self._unfinished += 1
            progress.unfinished[record.offset] = asyncio.create_task(self._finish(progress, record))
            progress.read = record.offset + 1
        progress = self._progress_of(claim)
        if progress is not None:
            progress.read = fetched.read
            self._moved()

    def _progress_of(self, claim: Claim) -> _Progress | None:
        if not claim.held:
            return None
        progress = self._progress.get(claim)
        if progress is None:
            progress = self._progress[claim] = _Progress(claim.start)
        return progress

    async def _take_room(self) -> None:
        while self._unfinished >= self._pace.unfinished:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        await self._dispatch.slots.take()

    async def _finish(self, progress: _Progress, record: LoggedEvent) -> None:
        try:
            await self._dispatch(record)
        except Exception:  # noqa: BLE001  a defect of ours: the event stays unfinished, the next holder repeats it
            log.exception("dispatch broke", trigger=self.trigger.name, partition=record.partition, offset=record.offset)
            return
        except asyncio.CancelledError:
            self._unfinished -= 1
            raise
        del progress.unfinished[record.offset]
        self._unfinished -= 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._moved()

    async def _let_go(self, claims: Collection[Claim]) -> Mapping[Claim, int]:
        given_up = {claim: self._progress.pop(claim) for claim in claims if claim in self._progress}
        calls = {task for progress in given_up.values() for task in progress.unfinished.values()}
        self._dispatch.give_up(calls)
        if calls:
            _, late = await asyncio.wait(calls, timeout=self._drain)
            for task in late:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        return {claim: progress.finished for claim, progress in given_up.items()}

    def _moved(self) -> None:
        """Something may be committed now."""
        if self._commit_timer is None:
            loop = asyncio.get_running_loop()
            self._commit_timer = loop.call_later(self._pace.commit_every, self._commit_soon)

    def _commit_soon(self) -> None:
        self._commit_timer = None
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit(), name=f"commit {self.trigger.name}")
        else:
            self._moved()  # Kafka is slow to answer the last one

    async def _commit(self) -> None:
        moved = {
            claim: progress.finished
            for claim, progress in self._progress.items()
            if progress.finished > progress.committed
        }
        if not moved:
            return
        try:
            kept = await self._member.commit(moved)
        except Unavailable as error:
            log.warning("offsets not committed", trigger=self.trigger.name, why=error.detail)
            kept = False
        if not kept:
            self._moved()
            return
        for claim, offset in moved.items():
            progress = self._progress.get(claim)
            if progress is not None:
                progress.committed = offset
