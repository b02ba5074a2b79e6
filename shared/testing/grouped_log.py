"""
The log in memory as a topic of one partition: what the tests of the runner ask, they ask of both runners.

Offsets are those of MemoryRecordLog, so ``offsets`` says the same: the last event that a group has finished.
"""

from collections.abc import Mapping, Sequence

from events import CloudEvent
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.ports.consumer_groups import Claim, Fetched, LetGo
from shared.runtime.partition_runner import PartitionRunner
from shared.runtime.subscriber import Subscriber
from shared.runtime.trigger_runner import Pace, Runner, TriggerRunner
from shared.runtime.wiring import Trigger


class GroupedLog(MemoryRecordLog):
    """ConsumerGroups with one member each."""

    def member(self, group: str, filter: Mapping[str, str]) -> "_Member":
        return _Member(self, group, filter)


class _Member:
    def __init__(self, log: GroupedLog, group: str, filter: Mapping[str, str]) -> None:
        self._log = log
        self._group = group
        self._filter = filter
        self._read = 0

    async def join(self, let_go: LetGo) -> None:
        self._let_go = let_go
        committed = await self._log.committed(self._group)
        if committed is None:
            committed = await self._log.head()
            await self._log.commit(self._group, committed)
        self._read = committed
        self._claim = Claim(0, committed + 1)

    async def fetch(self) -> Sequence[Fetched]:
        while True:
            records = await self._log.read(after=self._read, limit=500, wait=60)
            if records:
                self._read = records[-1].offset
                return [Fetched(self._claim, [one for one in records if self._wants(one.event)], self._read + 1)]

    async def commit(self, finished: Mapping[Claim, int]) -> bool:
        for offset in finished.values():
            await self._log.commit(self._group, offset - 1)
        return True

    def heads(self) -> Mapping[Claim, int]:
        return {self._claim: len(self._log.records) + 1}

    async def leave(self) -> None:
        self._claim.held = False
        await self.commit(await self._let_go([self._claim]))

    def _wants(self, event: CloudEvent) -> bool:
        return all(event.attributes.get(name) == value for name, value in self._filter.items())


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
