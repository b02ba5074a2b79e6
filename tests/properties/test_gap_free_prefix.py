"""
What a service's group commits, under every story that Hypothesis finds (E1, E5, E6; ADR 29).

Three Triggers of one service, whose filters overlap, each with its own retries and dead letter sink. Processes start,
stop and are killed; partitions move at any moment, also while a call runs, pauses before a retry or waits for room.
Whenever an offset is kept, every event before it has been finished by every Trigger that wants it; and in the end
every event has been, by all of them, and all is committed.

What it catches, tried by planting each: the prefix of one Trigger committed for all; an event taken for read once the
first of two Triggers has begun it; a call that was cut taken for finished.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from events import CloudEvent
from shared.ports.event_log import LoggedEvent
from shared.runtime.partition_runner import PartitionRunner
from shared.runtime.subscriber import Answer, Headers, Subscriber
from shared.runtime.trigger_runner import Pace
from shared.runtime.wiring import Delivery, Trigger
from shared.testing.contracts.record_log import cloudevent
from shared.testing.grouped_log import GroupedLog
from shared.testing.virtual_loop import VirtualLoop

TRIGGERS = {
    # How long a call may take tells whose it is: nothing else does.
    3.0: Trigger("of-a", "chat4all", {"type": "a"}, "f", Delivery(2, False, 0.2, 3.0, "sink")),
    4.0: Trigger("of-whatsapp", "chat4all", {"channel": "whatsapp"}, "f", Delivery(0, False, 0.2, 4.0, "sink")),
    5.0: Trigger("of-both", "chat4all", {"type": "a", "channel": "whatsapp"}, "f", Delivery(1, True, 3, 5.0, "sink")),
}
GROUP = TRIGGERS[3.0].service_group
NARROW = Pace(calls=2, unfinished=3, commit_every=0.5)
SESSION = 3.0

process: ContextVar[int | None] = ContextVar("process", default=None)


@dataclass(frozen=True, slots=True)
class Publish:
    events: list[tuple[str, str, str]]
    """Type, channel, key."""


@dataclass(frozen=True, slots=True)
class End:
    """Of a process; ``cleanly`` or by a kill."""

    which: int
    cleanly: bool


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


class Now(Enum):
    START = "another process starts"
    MOVE = "partitions move"


Step = Publish | End | Wait | Now
EVENTS = st.tuples(st.sampled_from("ab"), st.sampled_from(["whatsapp", "instagram"]), st.sampled_from("pqrs"))
STEPS = st.one_of(
    st.builds(Publish, st.lists(EVENTS, min_size=1, max_size=8)),
    st.builds(Wait, st.sampled_from([0.0, 0.1, 0.6, 2.0, 7.0])),
    st.just(Now.MOVE),
    st.just(Now.START),
    st.builds(End, st.integers(0, 2), cleanly=st.just(True)),
    st.builds(End, st.integers(0, 2), cleanly=st.just(False)),
)
ANSWERS = st.tuples(st.sampled_from([204, 204, 204, 503, 422, None]), st.sampled_from([0.0, 0.0, 0.3, 2.5, 20.0]))


class Kept(GroupedLog):
    """Looks at every offset that is kept."""

    def __init__(self) -> None:
        super().__init__(partitions=3)
        self.done: set[tuple[str, str]] = set()
        """Names of Triggers and ids of events: taken by the service, or by the sink."""

    def keep(self, group: str, finished: Mapping[int, int]) -> None:
        for number, count in finished.items():
            for record in self.partitions[number][:count]:
                assert wanted([record]) <= self.done, "an event is committed that somebody has not finished"
        super().keep(group, finished)


def wanted(records: Iterable[LoggedEvent]) -> set[tuple[str, str]]:
    """Every Trigger with the id of every event that it wants."""
    return {
        (trigger.name, record.event.attributes["id"])
        for record in records
        for trigger in TRIGGERS.values()
        if trigger.wants(record.event.attributes)
    }


class Function:
    """The service, and the sink of its Triggers: answers as the story says, and all is well afterwards."""

    def __init__(self, log: Kept, answers: list[tuple[int | None, float]]) -> None:
        self.address = "http://f"
        self._log = log
        self._answers = answers

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
        trigger = TRIGGERS[within or 0.0]
        status, seconds = self._answers.pop() if self._answers else (204, 0.0)
        await asyncio.sleep(min(seconds, within or 0.0))
        if status is None or seconds > (within or 0.0):
            return None
        if status == 204:
            self._log.done.add((trigger.name, event.attributes["id"]))
        return Answer(status)


@dataclass
class Processes:
    log: Kept
    answers: list[tuple[int | None, float]]
    running: dict[int, PartitionRunner] = field(default_factory=dict)
    tasks: dict[asyncio.Task[Any], int | None] = field(default_factory=dict)
    begun: list[asyncio.Task[Any]] = field(default_factory=list)
    published: int = 0

    def task(self, loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> "asyncio.Task[Any]":
        made = asyncio.Task(work, loop=loop, **more)
        self.tasks[made] = process.get()
        return made

    async def take(self, step: Step) -> None:
        match step:
            case Publish(events):
                for kind, channel, key in events:
                    self.published += 1
                    more = {"type": kind, "channel": channel, "partitionkey": key}
                    await self.log.append(cloudevent(str(self.published), **more))
            case Now.START if len(self.running) < 3:
                self.start()
            case End(which, cleanly=True) if which in self.running:
                self.begin(self.running.pop(which).stop(grace=2.0))
            case End(which, cleanly=False) if which in self.running:
                self.kill(which)
            case Now.MOVE:
                self.begin(self.log.move(GROUP))
            case Wait(seconds):
                await asyncio.sleep(seconds)

    def start(self) -> None:
        number = next(n for n in range(3) if n not in self.running)
        subscribers: dict[str, Subscriber] = {
            "f": Function(self.log, self.answers),
            "sink": Function(self.log, self.answers),
        }
        runner = PartitionRunner(TRIGGERS.values(), subscribers, self.log, self.log.append, pace=NARROW, drain=1.0)
        self.running[number] = runner
        process.set(number)
        self.begin(runner.start())
        process.set(None)

    def kill(self, which: int) -> None:
        del self.running[which]
        for task, owner in self.tasks.items():
            if owner == which:
                task.cancel()
        self.tasks = {task: owner for task, owner in self.tasks.items() if owner != which}
        self.begin(self._session_ends())

    def begin(self, work: Any) -> None:
        self.begun.append(asyncio.create_task(work))

    async def _session_ends(self) -> None:
        await asyncio.sleep(SESSION)
        await self.log.move(GROUP)


async def told(steps: list[Step], answers: list[tuple[int | None, float]]) -> None:
    log = Kept()
    processes = Processes(log, answers)
    asyncio.get_running_loop().set_task_factory(processes.task)
    processes.start()
    await asyncio.sleep(0.01)
    for step in steps:
        await processes.take(step)
    if not processes.running:
        processes.start()
    await asyncio.sleep(600)
    broken = [task.exception() for task in processes.begun if task.done() and not task.cancelled()]
    assert not any(broken), broken
    assert log.done == {pair for partition in log.partitions for pair in wanted(partition)}
    assert log.offsets[GROUP] == processes.published
    standings = [standing for runner in processes.running.values() for standing in runner.standings()]
    assert {(one.lag, one.in_flight) for one in standings} == {(0, 0)}


@given(steps=st.lists(STEPS, max_size=25), answers=st.lists(ANSWERS, max_size=40))
@settings(max_examples=300)
def test_what_is_committed_was_finished_by_every_trigger_and_in_the_end_all_is(
    steps: list[Step], answers: list[tuple[int | None, float]]
) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(told(steps, answers))
