"""
The log in memory as a topic with partitions: ConsumerGroups as Kafka has them, without a Kafka.

Members share the partitions; they move when somebody joins, leaves or dies, and whenever a test says so. Offsets are
1, 2, 3 … in each partition; ``offsets`` says how many events a group has finished, so with one partition the same as
MemoryRecordLog's. What the tests of the runner ask, they ask of both runners.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from zlib import crc32

from events import CloudEvent
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.ports.consumer_groups import Claim, Fetched, LetGo
from shared.ports.event_log import LoggedEvent
from shared.runtime.partition_runner import PartitionRunner
from shared.runtime.subscriber import Subscriber
from shared.runtime.trigger_runner import Pace, Runner, TriggerRunner
from shared.runtime.wiring import Trigger

_BATCH = 500


class GroupedLog(MemoryRecordLog):
    def __init__(self, partitions: int = 1) -> None:
        super().__init__()
        self.partitions: list[list[LoggedEvent]] = [[] for _ in range(partitions)]
        self._groups: dict[str, _Group] = defaultdict(lambda: _Group(self))

    async def append(self, *cloudevents: CloudEvent) -> None:
        await super().append(*cloudevents)
        for cloudevent in cloudevents:
            number = crc32(cloudevent.attributes.get("partitionkey", "").encode()) % len(self.partitions)
            partition = self.partitions[number]
            partition.append(LoggedEvent(len(partition) + 1, cloudevent, number))
        for group in self._groups.values():
            group.wake()

    def member(self, group: str, filters: Sequence[Mapping[str, str]], *, instead_of: Sequence[str] = ()) -> "_Member":
        return _Member(self, group, filters, instead_of)

    def finished(self, group: str) -> Mapping[int, int]:
        """By partition how many of its first events the group has committed; empty: it was never seen."""
        return self._groups[group].committed

    async def move(self, group: str) -> None:
        """Every partition of the group goes to another member, if there is one."""
        self._groups[group].turn += 1
        await self._groups[group].share()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Nobody joins, leaves or commits meanwhile."""
        async with AsyncExitStack() as stack:
            for group in self._groups.values():
                await stack.enter_async_context(group.moving)
            yield

    def keep(self, group: str, finished: Mapping[int, int]) -> None:
        self._groups[group].committed.update(finished)
        self.offsets[group] = sum(self._groups[group].committed.values())

    def of(self, group: str) -> "_Group":
        return self._groups[group]


class _Group:
    def __init__(self, log: GroupedLog) -> None:
        self.members: list[_Member] = []
        self.committed: dict[int, int] = {}
        self.turn = 0
        self.moving = asyncio.Lock()
        self._log = log

    def wake(self) -> None:
        for member in self.members:
            member.woken.set()

    async def share(self) -> None:
        """Partitions go round among those who live; who has to give one up has the last word on it."""
        async with self.moving:
            for member in [one for one in self.members if not one.lives]:
                self.members.remove(member)
                member.lose()
            holders = {
                number: self.members[(number + self.turn) % len(self.members)]
                for number in range(len(self._log.partitions) if self.members else 0)
            }
            for member in self.members:
                await member.give_up([claim for claim in member.claims if holders[claim.partition] is not member])
            held = {claim.partition for member in self.members for claim in member.claims}
            for number, member in holders.items():
                if number not in held:
                    member.take(Claim(number, self.committed[number] + 1))


class _Member:
    def __init__(
        self, log: GroupedLog, name: str, filters: Sequence[Mapping[str, str]], instead_of: Sequence[str]
    ) -> None:
        self.claims: dict[Claim, int] = {}
        """What it holds, and how far it has read there."""
        self.woken = asyncio.Event()
        self._log = log
        self._name = name
        self._filters = filters
        self._instead_of = instead_of
        self._group = log.of(name)
        self._untold: list[Claim] = []
        self._heartbeat: asyncio.Task[object] | None = None

    @property
    def lives(self) -> bool:
        """Whoever ends all tasks, as a kill does, ends it too."""
        return self._heartbeat is not None and not self._heartbeat.done()

    async def join(self, let_go: LetGo) -> None:
        self._let_go = let_go
        self._heartbeat = asyncio.create_task(asyncio.Event().wait(), name=f"heartbeat of {self._name}")
        if not self._group.committed:
            self._log.keep(self._name, self._beginning())
        self._group.members.append(self)
        await self._group.share()

    async def fetch(self) -> Sequence[Fetched]:
        while True:
            fetched = [Fetched(claim, (), claim.start) for claim in self._untold if claim.held]
            self._untold.clear()
            for claim, read in self.claims.items():
                records = list(islice(self._log.partitions[claim.partition], read, read + _BATCH))
                if records:
                    self.claims[claim] = read + len(records)
                    wanted = [one for one in records if self._wants(one.event)]
                    fetched.append(Fetched(claim, wanted, records[-1].offset + 1))
            if fetched:
                return fetched
            self.woken.clear()
            await self.woken.wait()

    async def commit(self, finished: Mapping[Claim, int]) -> bool:
        if self._group.moving.locked() or not self.lives:
            return False
        self._keep({claim: offset for claim, offset in finished.items() if claim.held})
        return True

    def heads(self) -> Mapping[Claim, int]:
        return {claim: len(self._log.partitions[claim.partition]) + 1 for claim in self.claims}

    async def leave(self) -> None:
        if self._heartbeat is None:
            return
        async with self._group.moving:
            if self in self._group.members:
                self._group.members.remove(self)
            await self.give_up(list(self.claims))
        self._heartbeat.cancel()
        await asyncio.gather(self._heartbeat, return_exceptions=True)
        await self._group.share()

    def take(self, claim: Claim) -> None:
        self.claims[claim] = claim.start - 1
        self._untold.append(claim)
        self.woken.set()

    async def give_up(self, claims: Collection[Claim]) -> None:
        if claims:
            self._end(claims)
            self._keep(await self._let_go(claims))

    def lose(self) -> None:
        """Others have them; nobody asks for a last word."""
        self._end(list(self.claims))

    def _end(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            claim.held = False
            del self.claims[claim]

    def _keep(self, finished: Mapping[Claim, int]) -> None:
        self._log.keep(self._name, {claim.partition: offset - 1 for claim, offset in finished.items()})

    def _beginning(self) -> Mapping[int, int]:
        earlier = [self._log.finished(name) for name in self._instead_of]
        return {
            number: min((one[number] for one in earlier if number in one), default=len(partition))
            for number, partition in enumerate(self._log.partitions)
        }

    def _wants(self, event: CloudEvent) -> bool:
        return any(filter.items() <= event.attributes.items() for filter in self._filters)


def runner_over(
    log: MemoryRecordLog,
    triggers: Sequence[Trigger],
    subscribers: Mapping[str, Subscriber],
    *,
    pace: Pace | None = None,
) -> Runner:
    """The runner for this log: TriggerRunner, or PartitionRunner over a GroupedLog."""
    if isinstance(log, GroupedLog):
        return PartitionRunner(triggers, subscribers, log, log.append, pace=pace)
    return TriggerRunner(triggers, subscribers, log, pace=pace)


def group_of(log: MemoryRecordLog, trigger: Trigger) -> str:
    """The name under which the runner of this log keeps how far the Trigger has come."""
    return trigger.service_group if isinstance(log, GroupedLog) else trigger.group
