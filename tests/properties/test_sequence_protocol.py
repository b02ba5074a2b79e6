"""
The sequence protocol under every interleaving that Hypothesis finds (A3, A6, A7, A11, E1, E2; I1 and I2 of
reliability.md 4.5; design.md 4).

Processes that share tables, cache and outbox are interleaved at every await. Clients send to any of them, one
message or several at once, the same one twice, or another under its id; they send again what was not answered.
Hints get lost and falsified, writes fail or lose their answer, the broker fails, processes crash between any two
steps, and the sweeper runs in between.

What it catches, tried by planting each: trusting the hint; no look at message_ids, or message_ids written after the
claim; claims without the message_id's row, or over the edge of a bucket; other content taken for the same; an
unanswered write taken for failed, or for done; no outbox entry, or one forgotten before its events were emitted; a
sweeper that emits what was never claimed; an event forgotten. The look into a bucket left behind and the look at each
occupied row stand in for one another: only without both is something broken.
"""

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events import CATALOGUE, from_cloudevent
from events.vocabulary import Text
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Fault, MemoryTables
from shared.adapters.tables_outbox import SHARDS, OutboxSweeper, TablesOutbox
from shared.domain.errors import Conflict, Unavailable
from shared.domain.message import Draft
from shared.domain.sequence import bucket_of
from shared.ports.tables import Put
from shared.repositories.outbox_schema import OUTBOX_SWEPT
from shared.repositories.schema import PLATFORM, TABLES, TIMELINE
from shared.repositories.timeline import Timeline
from shared.testing.atomic_outbox import AtomicOutbox
from shared.testing.schedule import Crashed, Schedule, play
from shared.testing.stepped import SteppedCache, SteppedSink

TENANT, CONVERSATION = "acme", "c1"
BUCKET = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """``other``: with other content than everybody else's; ``fresh``: drawn by the server, so never repeated."""

    number: int
    other: bool = False
    fresh: bool = False

    @property
    def draft(self) -> Draft:
        return Draft(
            message_id=str(UUID(int=self.number)),
            conversation_id=CONVERSATION,
            sender="ana",
            payload=Text(text=f"{self.number}{' another' * self.other}"),
            fresh=self.fresh,
        )


@dataclass(frozen=True, slots=True)
class Lose:
    """The hint is gone."""


@dataclass(frozen=True, slots=True)
class Falsify:
    hint: bytes


@dataclass(frozen=True, slots=True)
class Crash:
    process: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """Minutes pass, and the sweeper runs."""


@dataclass(frozen=True, slots=True)
class BreakBroker:
    calls: int


Trouble = Lose | Falsify | Crash | Sweep | BreakBroker


@dataclass(frozen=True, slots=True)
class Story:
    """
    Args:
        clients: what each sends, one request after the other's answer; a request is sent as one batch.
        troubles: each with the turns that pass before it.
        faults: each with the operations of the store that pass before it.
    """

    processes: int
    clients: list[list[list[Wanted]]]
    troubles: list[tuple[int, Trouble]]
    faults: list[tuple[int, Fault]]
    choices: bytes


def _requests(numbers):
    wanted = st.builds(Wanted, number=numbers, other=st.sampled_from([False] * 5 + [True]))
    return st.lists(st.lists(wanted, min_size=1, max_size=3), min_size=1, max_size=3)


TROUBLES = st.one_of(
    st.just(Lose()),
    st.builds(Falsify, st.one_of(st.integers(0, 14).map(lambda n: b"%d" % n), st.sampled_from([b"", b"x", b"-1"]))),
    st.builds(Crash, st.integers(0, 2)),
    st.just(Sweep()),
    st.builds(BreakBroker, st.integers(1, 3)),
)


@st.composite
def stories(draw):
    clients = draw(st.lists(_requests(st.integers(1, 9)), min_size=1, max_size=3))
    fresh = draw(st.integers(0, 4))
    if fresh:  # one more client, whose messages get their ids here
        clients.append([[Wanted(100 + n, fresh=True)] for n in range(fresh)])
    return Story(
        processes=draw(st.integers(2, 3)),
        clients=clients,
        troubles=draw(st.lists(st.tuples(st.integers(0, 30), TROUBLES), max_size=5)),
        faults=draw(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(Fault)), max_size=3)),
        choices=draw(st.binary(min_size=160, max_size=160)),
    )


@dataclass(slots=True)
class Answer:
    """When ``wanted`` was first sent and when answered, counted in turns."""

    wanted: Wanted
    sent: int
    answered: int
    accepted: object


@dataclass
class World:
    story: Story
    outbox_of: object
    answers: list[Answer] = field(default_factory=list)
    conflicts: list[Wanted] = field(default_factory=list)

    def __post_init__(self):
        self.schedule = Schedule(self.story.choices)
        self.clock = SettableClock()
        self.clock.advance(timedelta(minutes=30))  # no hour begins in a story: a day is looked back at its beginning
        self.log = MemoryRecordLog()
        self.tables = MemoryTables(self.clock)
        self.cache = SteppedCache(self.schedule.checkpoint)
        self.sink = SteppedSink(self.schedule.checkpoint, self.log)
        self.outbox = self.outbox_of(self)
        self.sweeper = OutboxSweeper(self.tables, self.sink, self.clock, TABLES)
        self.incarnations = [0] * self.story.processes
        self.timelines = [self.new_timeline() for _ in self.incarnations]

    def new_timeline(self):
        return Timeline(self.tables, self.outbox, self.cache, self.clock, bucket=BUCKET)

    def process(self, slot):
        return f"sender {slot}, life {self.incarnations[slot]}"

    async def tell(self):
        minute = int(self.clock.now().timestamp()) // 60 - 2  # a system that has been running was swept
        await self.tables.put(
            *(Put(OUTBOX_SWEPT, {"tenant": PLATFORM, "shard": shard, "minute": minute}) for shard in range(SHARDS))
        )
        self.tables.checkpoint = self.schedule.checkpoint
        self.tables.fault = self.faulty()
        outcomes = [
            self.schedule.start(f"client {index}", self.client(index, requests))
            for index, requests in enumerate(self.story.clients)
        ]
        outcomes.append(self.schedule.start("trouble", self.make_trouble()))
        await self.schedule.until_idle()
        self.schedule.close()
        self.tables.fault = lambda method, table: None
        self.sink.failures = 0
        for outcome in outcomes:
            assert outcome.done(), "somebody waits for ever"
            outcome.result()
        for _ in range(4):
            await self.sweep(timedelta(minutes=10))

    def faulty(self):
        faults = list(self.story.faults)
        passed = 0

        def hook(method, table):
            nonlocal passed
            if faults and passed >= faults[0][0]:
                passed = 0
                return faults.pop(0)[1]
            passed += 1
            return None

        return hook

    async def sweep(self, after):
        self.clock.advance(after)
        await self.sweeper.sweep()

    async def make_trouble(self):
        for turns, trouble in self.story.troubles:
            for _ in range(turns):
                await self.schedule.checkpoint()
            key = f"{TENANT}/head/{CONVERSATION}"
            match trouble:
                case Lose():
                    await self.cache.kept.delete(key)
                case Falsify(hint=hint):
                    await self.cache.kept.put(key, hint, ttl=1.0)
                case Crash(process=number):
                    slot = number % len(self.incarnations)
                    self.schedule.crash(self.process(slot))
                    self.incarnations[slot] += 1
                    self.timelines[slot] = self.new_timeline()
                case Sweep():
                    with suppress(Unavailable):
                        await self.sweep(timedelta(minutes=2))
                case BreakBroker(calls=calls):
                    self.sink.failures = calls

    async def client(self, index, requests):
        slot = index
        for request in requests:
            sent, open_ones = self.schedule.turns, request
            while open_ones:
                slot = (slot + self.schedule.choose(4)) % len(self.incarnations)
                calls = [self.schedule.start(self.process(slot), self.send(slot, wanted)) for wanted in open_ones]
                again = []
                for wanted, call in zip(open_ones, calls, strict=True):
                    try:
                        accepted = await call
                    except (Unavailable, Crashed):
                        if not wanted.fresh:
                            again.append(wanted)
                    except Conflict:
                        self.conflicts.append(wanted)
                    else:
                        self.answers.append(Answer(wanted, sent, self.schedule.turns, accepted))
                open_ones = again

    async def send(self, slot, wanted):
        return await self.timelines[slot].accept(TENANT, wanted.draft, source="/functions/send", traceparent=None)

    async def answered(self, slot, wanted):
        sent = self.schedule.turns = self.schedule.turns + 1
        accepted = await self.send(slot, wanted)
        self.answers.append(Answer(wanted, sent, sent, accepted))

    async def check(self):
        messages = await self.new_timeline().since(TENANT, CONVERSATION, 0, 1000)
        assert [message.seq for message in messages] == list(range(1, len(messages) + 1)), "gapless"
        by_id = {message.message_id: message for message in messages}
        assert len(by_id) == len(messages), "one number for each message_id"
        await self.check_mid_rows(by_id)
        await self.check_answers(by_id)
        self.check_events(by_id)
        self.check_order()

    async def check_mid_rows(self, by_id):
        found = {}
        for bucket in range(bucket_of(len(by_id), BUCKET) + 2):
            for row in await self.tables.slice(TIMELINE, (TENANT, CONVERSATION, bucket), prefix=("m",), limit=100):
                assert row["message_id"] not in found, "one claim for each message_id"
                found[row["message_id"]] = row["number"]
        assert found == {message_id: message.seq for message_id, message in by_id.items()}

    async def check_answers(self, by_id):
        for answer in self.answers:
            stored = by_id.get(answer.accepted.message.message_id)
            assert stored == answer.accepted.message, "what was answered is in the timeline, under its number"
            assert stored.payload == answer.wanted.draft.payload, "with the content that was sent"
        for wanted in self.conflicts:
            stored = by_id[wanted.draft.message_id]
            assert stored.payload != wanted.draft.payload, "a conflict is with other content"
        for message_id, message in by_id.items():
            assert await self.new_timeline().find(TENANT, message_id) == message, "found by its id"

    def check_events(self, by_id):
        emitted = {}
        for record in self.log.records:
            event = from_cloudevent(record.event, CATALOGUE)
            assert event.id == event.data.message_id
            assert event.data == emitted.setdefault(event.id, event.data), "a repeat says the same"
        assert emitted == by_id, "an event for each message, with its number, and none for anything else"

    def check_order(self):
        """Whoever was answered before another was sent comes first (I2)."""
        for before in self.answers:
            for after in self.answers:
                if before.answered < after.sent and before.wanted.number != after.wanted.number:
                    replay = after.accepted.replayed
                    assert replay or before.accepted.message.seq < after.accepted.message.seq


def over_tables(world):
    return TablesOutbox(world.tables, world.sink, world.clock, CountedIds())


def over_transactions(world):
    return AtomicOutbox(world.tables, world.log)


@pytest.mark.parametrize("outbox_of", [over_tables, over_transactions])
@settings(max_examples=settings.default.max_examples * 3)
@given(story=stories())
def test_numbers_are_gapless_and_each_message_has_one_whatever_happens(outbox_of, story):
    async def tell():
        world = World(story, outbox_of)
        await world.tell()
        await world.check()

    play(tell)


class Stopped:
    """A checkpoint that stops one process at its n-th step, until it is told to go on."""

    def __init__(self, step):
        self.step = step
        self.slow = ContextVar("slow", default=False)
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def checkpoint(self):
        if self.slow.get():
            self.step -= 1
            if self.step == 0:
                self.reached.set()
                await self.go_on.wait()

    async def start(self, work):
        """The work, when it has stopped or ended."""

        async def run():
            self.slow.set(True)
            return await work

        task = asyncio.create_task(run())
        stopping = asyncio.create_task(self.reached.wait())
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return task


@pytest.mark.parametrize("others_before", [0, 4])
@pytest.mark.parametrize("others_after", [0, 2, 8])
@pytest.mark.parametrize("repeated_meanwhile", [False, True])
@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("outbox_of", [over_tables, over_transactions])
async def test_a_sender_that_stops_anywhere_while_buckets_fill_leaves_one_message(
    outbox_of, dies, repeated_meanwhile, others_after, others_before
):
    """Found by the property above: a message whose sender died before message_ids, two bucket edges back."""
    step, stopped_there = 0, True
    while stopped_there:
        step += 1
        story = Story(processes=3, clients=[], troubles=[], faults=[], choices=b"")
        world, stop = World(story, outbox_of), Stopped(step)
        await world.tell()
        world.tables.checkpoint = world.cache.checkpoint = world.sink.checkpoint = stop.checkpoint
        wanted = Wanted(1)
        slow = await stop.start(world.send(0, wanted))
        stopped_there = not slow.done()
        for number in range(10, 10 + others_before):
            await world.answered(1, Wanted(number))
        if repeated_meanwhile:
            await world.answered(1, wanted)
        for number in range(20, 20 + others_after):
            await world.answered(1, Wanted(number))
        if dies:
            slow.cancel()
        else:
            stop.go_on.set()
            await slow
        await world.answered(2, wanted)
        for _ in range(3):
            await world.sweep(timedelta(minutes=10))
        await world.check()
    assert step > 5
