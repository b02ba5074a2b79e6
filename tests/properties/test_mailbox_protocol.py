"""
The mailbox protocol under every interleaving that Hypothesis finds (C4, C8, A9, E1; I3, I4 and I5 of
reliability.md 4.5; design.md 4; channels.md 3.0).

The real functions route, deliver, record-status and redrive, several of each, interleaved at every await. Events
are never lost, but come in any order, twice, and again after a failure; processes crash between any two steps;
calls are cut by the Trigger's time-out; leases run out; the store and the broker fail; the provider answers what
Hypothesis likes, or nothing, having taken the message or not, and reports at once, later or never.

What it catches, tried by planting each: taking a row without compare-and-set; no due entry before sending; a lease
that ran out taken for a free row; an Unknown treated as Busy; looking past a waiting head; sending again without a
look at what was reported; parts that are forgotten; route that plans out of order or only what it was woken for,
that leaves to another handler what that one may not come to, or moves its cursor before the rows stand; due entries
removed before their events are handed over.
"""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

from hypothesis import given, note, settings
from hypothesis import strategies as st

from events import CATALOGUE, Event, MessageAccepted, TimerTicked, from_cloudevent
from events.vocabulary import Status, Text
from functions.deliver import func as deliver
from functions.record_status import func as record_status
from functions.redrive import func as redrive
from functions.route import func as route
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Fault, MemoryTables
from shared.domain.errors import Unavailable
from shared.domain.mailbox import State
from shared.domain.message import Draft
from shared.domain.status import known
from shared.domain.text import split
from shared.ports import Ports
from shared.repositories.channel_accounts import ChannelAccounts
from shared.repositories.cursors import Cursors
from shared.repositories.deliveries import Deliveries
from shared.repositories.schema import DUE, MAILBOX, PLATFORM
from shared.repositories.timeline import Timeline
from shared.testing.atomic_outbox import AtomicOutbox
from shared.testing.plain_vault import PlainVault
from shared.testing.schedule import Crashed, Cut, Schedule, play, this_process
from shared.testing.scripted_provider import PARTS_OF, UNCERTAIN_WAIT, OneChannel, Outcome, Provider, channel_to
from shared.testing.stepped import SteppedCache, SteppedSink

TENANT, CONVERSATION = "acme", "c1"
CALL_TIMEOUT = timedelta(seconds=12)
TRIES_AT_ONCE = 4  # of the broker, before an event is left for later
PAGE = 2  # messages after which route's cursor moves
LONGEST_STORY = 120  # times that the story stands still and the clock goes on


@dataclass(frozen=True, slots=True)
class Crash:
    process: int


@dataclass(frozen=True, slots=True)
class TimeOut:
    """Of one call that the process is handling."""

    process: int


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: int


@dataclass(frozen=True, slots=True)
class Tick:
    """The redrive timer fires."""


@dataclass(frozen=True, slots=True)
class BreakBroker:
    calls: int


@dataclass(frozen=True, slots=True)
class Story:
    processes: int
    messages: list[tuple[str, tuple[str, ...]]]  # text and addresses
    outcomes: list[Outcome]
    troubles: list[tuple[int, Crash | TimeOut | Wait | Tick | BreakBroker]]
    faults: list[tuple[int, Fault]]
    choices: bytes


REPORTS = st.sampled_from([(), (), (Status.SENT,), (Status.DELIVERED,), (Status.READ, Status.SENT), (Status.FAILED,)])
OK = st.builds(
    Outcome,
    reports=st.sampled_from([(), (), (Status.DELIVERED,), (Status.READ, Status.DELIVERED)]),
    echo=st.booleans(),
    correlated=st.booleans(),
    late=st.booleans(),
)
REFUSED = st.builds(Outcome, answers=st.sampled_from(["rejected", "auth_broken"]), takes=st.just(False))
BUSY = st.builds(Outcome, answers=st.just("busy"), takes=st.just(False), wait=st.sampled_from([None, 3, 90]))
LOST = st.builds(
    Outcome,
    answers=st.just("unknown"),
    takes=st.just(True),
    reports=REPORTS,
    echo=st.booleans(),
    correlated=st.booleans(),
    late=st.booleans(),
)
NOT_TAKEN = st.builds(
    Outcome, answers=st.just("unknown"), takes=st.just(False), reports=st.sampled_from([(), (), (Status.FAILED,)])
)
TEXTS = st.sampled_from(["olá", "olá", "tudo bem?", "um texto comprido", "um texto comprido demais"])
ADDRESSES = st.sampled_from([("fake:1",), ("fake:1",), ("fake:1", "fake:2")])


@st.composite
def stories(draw):
    return Story(
        processes=draw(st.integers(2, 3)),
        messages=draw(st.lists(st.tuples(TEXTS, ADDRESSES), min_size=1, max_size=4)),
        outcomes=draw(st.lists(st.one_of(OK, LOST, NOT_TAKEN, BUSY, REFUSED), max_size=5)),
        troubles=draw(
            st.lists(
                st.tuples(
                    st.integers(0, 60),
                    st.one_of(
                        st.builds(Crash, st.integers(0, 2)),
                        st.builds(TimeOut, st.integers(0, 2)),
                        st.builds(Wait, st.sampled_from([1, 11, 31, 61, 130])),
                        st.just(Tick()),
                        st.builds(BreakBroker, st.integers(1, 2)),
                    ),
                ),
                max_size=5,
            )
        ),
        faults=draw(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(Fault)), max_size=3)),
        choices=draw(st.binary(min_size=200, max_size=200)),
    )


class Log(MemoryRecordLog):
    """A log that says at once what was appended."""

    def __init__(self, appended):
        super().__init__()
        self._on_append = appended

    async def append(self, *cloudevents):
        await super().append(*cloudevents)
        for cloudevent in cloudevents:
            self._on_append(cloudevent)


@dataclass
class World:
    story: Story
    left_over: list = field(default_factory=list)  # (event, times it was left)
    late: list = field(default_factory=list)
    broken: list = field(default_factory=list)

    def __post_init__(self):
        story = self.story
        self.schedule = Schedule(story.choices)
        self.clock = SettableClock()
        self.log = Log(self.hand_over)
        self.tables = MemoryTables(self.clock)
        self.quiet = self.tables.quiet()
        self.cache = SteppedCache(self.schedule.checkpoint)
        self.sink = SteppedSink(self.schedule.checkpoint, self.log)
        self.provider = Provider(
            self.clock,
            list(story.outcomes),
            self.schedule.checkpoint,
            this_process,
            self.provider_tells,
            self.look_at_call,
        )
        self.ports = Ports(
            clock=self.clock,
            ids=CountedIds(),
            tables=self.tables,
            outbox=AtomicOutbox(self.tables, self.log),
            sink=self.sink,
            log=self.log,
            cache=self.cache,
            fan_out=None,
            vault=PlainVault(),
            hasher=None,
            channels=OneChannel(channel_to(self.provider)),
            sweeper=None,
            webhooks=None,
            objects=None,
            scanner=None,
        )
        self.lives = [0] * story.processes
        self.functions = [self.start_process() for _ in self.lives]
        self.going = 0

    def start_process(self):
        ports = self.ports
        return {
            "chat4all.message.accepted.v1": replace(route.new(ports), page=PAGE),
            "chat4all.delivery.requested.v1": deliver.new(ports),
            "chat4all.status.reported.v1": record_status.new(ports),
            "chat4all.echo.received.v1": record_status.new(ports),
            "chat4all.timer.ticked.v1": redrive.new(ports),
        }

    def process(self, slot):
        return f"process {slot}, life {self.lives[slot]}"

    def hand_over(self, cloudevent):
        event = from_cloudevent(cloudevent, CATALOGUE)
        if event.data.TYPE in self.functions[0]:
            self.schedule.start("broker", self.deliver_event(event, 0))

    def provider_tells(self, event, late):
        if late:
            self.late.append(event)
        else:
            self.schedule.start("broker", self.deliver_event(event, 0))

    async def deliver_event(self, event, times_left):
        """At least once, to anybody, again when it fails; what fails for long is left for later."""
        twice = self.schedule.choose(8) == 7
        for _ in range(TRIES_AT_ONCE):
            slot = self.schedule.choose(len(self.lives))
            handling = self.functions[slot][event.data.TYPE].handle(event)
            try:
                await self.schedule.start(self.process(slot), handling)
            except (Unavailable, Crashed, Cut):
                continue
            except Exception as error:
                self.broken.append(error)
                raise
            if isinstance(event.data, MessageAccepted):
                await self.look_at_rows(event.data.seq)
            if not twice:
                return
            twice = False
        self.left_over.append((event, times_left + 1))

    async def make_trouble(self):
        for turns, trouble in self.story.troubles:
            for _ in range(turns):
                await self.schedule.checkpoint()
            match trouble:
                case Crash(process=number):
                    slot = number % len(self.lives)
                    self.schedule.crash(self.process(slot))
                    self.lives[slot] += 1
                    self.functions[slot] = self.start_process()
                case TimeOut(process=number):
                    self.schedule.cut(self.process(number % len(self.lives)))
                case Wait(seconds=seconds):
                    self.pass_time(timedelta(seconds=seconds))
                case Tick():
                    self.tick()
                case BreakBroker(calls=calls):
                    self.sink.failures = calls

    def pass_time(self, by):
        """No call of a living process takes longer than a channel lets it."""
        calls = [call for call in self.provider.calls if not call.ended and self.schedule.alive(call.process)]
        ends = [call.began + CALL_TIMEOUT for call in calls]
        self.clock.advance(max(timedelta(), min([self.clock.now() + by, *ends]) - self.clock.now()))

    def tick(self):
        now = self.clock.now()
        ticked = Event(id=f"tick {now}", source="/t", tenant=PLATFORM, time=now, data=TimerTicked(name="redrive"))
        self.schedule.start("broker", self.deliver_event(ticked, 0))

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

    async def tell(self):
        await ChannelAccounts(self.tables, self.ports.vault, self.clock).put(
            TENANT, "fake", "us", settings={}, secrets={}, enabled=True, over=None
        )
        minute = int(self.clock.now().timestamp()) // 60 - 2
        await Cursors(self.quiet).move(PLATFORM, "due", "redrive", minute)  # or the first round looks back a day
        timeline = Timeline(self.tables, self.ports.outbox, self.cache, self.clock)
        self.log._on_append = lambda cloudevent: None
        accepting = self.schedule.start("setting up", self.accept_all(timeline))
        await self.schedule.until_idle()
        accepting.result()
        self.log._on_append = self.hand_over
        for record in list(self.log.records):
            self.hand_over(record.event)
        self.tables.checkpoint, self.tables.fault = self.schedule.checkpoint, self.faulty()
        trouble = self.schedule.start("trouble", self.make_trouble())
        await self.schedule.until_idle()
        assert trouble.done()
        for _ in range(LONGEST_STORY):
            if not await self.go_on():
                return
            await self.schedule.until_idle()
        raise AssertionError("it does not come to an end")

    async def accept_all(self, timeline):
        for number, (text, addresses) in enumerate(self.story.messages):
            draft = Draft(
                message_id=str(UUID(int=number + 1)),
                conversation_id=CONVERSATION,
                sender="ana",
                payload=Text(text=text),
                to=addresses,
            )
            await timeline.accept(TENANT, draft, source="/functions/send", traceparent=None)

    async def go_on(self):
        """Everything stands still: hand over what was left, else let time pass to what is due next."""
        left, self.left_over = self.left_over, []
        told, self.late = self.late, []
        for event, times in left:
            if times < 4:
                self.schedule.start("broker", self.deliver_event(event, times))
        for event in told:
            self.schedule.start("broker", self.deliver_event(event, 0))
        if told or any(times < 4 for _, times in left):
            self.clock.advance(1)
            return True
        due = await self.next_due()
        if due is None:
            return False
        self.clock.advance(max(due - self.clock.now(), timedelta()))
        self.tick()
        return True

    async def next_due(self):
        now = int(self.clock.now().timestamp()) // 60
        for minute in range(now - 30, now + 60):
            entries = [
                row["at"]
                for shard in range(4)
                for row in await self.quiet.slice(DUE, (PLATFORM, minute, shard), limit=100)
            ]
            if entries:
                return min(entries)
        return None

    async def look_at_rows(self, seq):
        """When route has handled a number, what it and all before it asked for stands."""
        for address, texts in self.wanted().items():
            rows = await self.quiet.slice(MAILBOX, (TENANT, "fake", address, CONVERSATION), until=seq, limit=100)
            if [row["seq"] for row in rows] != [one for one in sorted(texts) if one <= seq]:
                self.broken.append(AssertionError(f"route has handled {seq}, and a row to {address} is missing"))

    async def look_at_call(self, call):
        """Never two calls of one mailbox at once within a lease; nothing is sent again that is known to be sent."""
        now = self.clock.now()
        for other in self.provider.calls:
            if other.address == call.address and not other.ended:
                assert not self.schedule.alive(other.process), "two calls of one mailbox at once"
                assert now >= other.began + deliver.LEASE - CALL_TIMEOUT * 1.5, (
                    "the lease of a dead caller was not waited for"
                )
        again = [other for other in self.provider.received if other.correlator == call.correlator]
        if again:
            await self.judge_repeat(call, again, now)

    async def judge_repeat(self, call, before, now):
        reports = await Deliveries(self.quiet).reports(TENANT, await self.message_of(call.delivery_id))
        mine = [one for one in reports if one.delivery_id == call.delivery_id]
        assert now >= before[-1].began + UNCERTAIN_WAIT, "its correlator was not waited for"
        proof = [one for one in mine if one.status in (Status.SENT, Status.DELIVERED, Status.READ)]
        assert not [one for one in proof if one.at < now - UNCERTAIN_WAIT / 2], "sent again though known to be sent"

    async def message_of(self, delivery_id):
        return (await Deliveries(self.quiet).get(TENANT, delivery_id)).message_id

    async def told(self):
        """What has become of it all, for whoever reads a failure."""
        lines = [repr(self.story), f"now {self.clock.now().time()}, left over {self.left_over}"]
        for address in ("1", "2"):
            for row in await self.quiet.slice(MAILBOX, (TENANT, "fake", address, CONVERSATION), limit=100):
                known_of_row = ("seq", "state", "tries", "part", "until", "message_id")
                lines.append(f"mailbox {address}: { ({name: str(row[name]) for name in known_of_row}) }")
                lines += [
                    f"    {report.status} {report.source} {report.at.time()} {report.provider_message_id}"
                    for report in await Deliveries(self.quiet).reports(TENANT, row["message_id"])
                ]
        for call in self.provider.calls:
            state = ("took" if call.taken else "took not", "ended" if call.ended else "not ended")
            lines.append(f"{call.began.time()} {call.process} {call.address} {call.correlator[-8:]} {state}")
        return "\n".join(lines)

    async def check(self):
        assert not self.broken, self.broken
        for address, texts in self.wanted().items():
            await self.check_mailbox(address, texts)

    def wanted(self):
        """By address the texts that are to arrive there, by their seq."""
        texts = {}
        for seq, (text, addresses) in enumerate(self.story.messages, start=1):
            for address in addresses:
                texts.setdefault(address.partition(":")[2], {})[seq] = text
        return texts

    async def check_mailbox(self, address, texts):
        rows = await self.quiet.slice(MAILBOX, (TENANT, "fake", address, CONVERSATION), limit=100)
        assert [row["seq"] for row in rows] == sorted(texts), "every message is in the mailbox"
        assert {row["state"] for row in rows} <= {"sent", "failed"}, "everything is finished"
        seq_of = {row["delivery_id"]: row["seq"] for row in rows}
        mine = [call for call in self.provider.received if call.address == address]
        first = list(dict.fromkeys((seq_of[call.delivery_id], call.part) for call in mine))
        assert first == sorted(first), "the provider has them in the order of the conversation"
        for row in rows:
            calls = [call for call in self.provider.calls if call.delivery_id == row["delivery_id"]]
            parts = split(texts[row["seq"]], PARTS_OF)
            taken = {call.part: call.text for call in calls if call.taken}
            refused = [call for call in calls if call.outcome.answers == "rejected"]
            refused += [call for call in calls if Status.FAILED in call.outcome.reports]
            if row["state"] == State.SENT:
                assert taken == dict(enumerate(parts)), "what is sent has arrived as it was written"
            else:
                assert refused, "only what the provider refused has failed"
            await self.check_status(row)

    async def check_status(self, row):
        reports = await Deliveries(self.quiet).reports(TENANT, row["message_id"])
        mine = [one for one in reports if one.delivery_id == row["delivery_id"]]
        status = known(mine).status
        if row["state"] == State.SENT:
            assert status in (Status.SENT, Status.DELIVERED, Status.READ, Status.FAILED), "known to be sent"
        reported = [from_cloudevent(record.event, CATALOGUE).data for record in self.log.records]
        news = {
            (one.TYPE.split(".")[2], one.status)
            for one in reported
            if getattr(one, "message_id", None) == row["message_id"] and hasattr(one, "status")
        }
        assert {news_status for _, news_status in news} & {Status.SENT, Status.FAILED, Status.DELIVERED, Status.READ}


@settings(max_examples=settings.default.max_examples * 3)
@given(story=stories())
def test_a_mailbox_is_delivered_in_order_once_and_wholly_whatever_happens(story):
    async def tell():
        world = World(story)
        try:
            await world.tell()
            await world.check()
        finally:
            note(await world.told())

    play(tell)
