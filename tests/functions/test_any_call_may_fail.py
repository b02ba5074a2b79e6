"""
Whichever call to a port fails, or whenever the process dies, the event comes again and the outcome is that of a run
without trouble: the same facts, the same events under the same ids, nothing lost (A3, A11, E1, C8; design.md 3).

The n-th call fails for n = 1, 2, 3 … until there are no more calls: before it was made, unanswered without effect,
unanswered with effect; or the process dies at it.
"""

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import msgspec
import pytest

from events import (
    CATALOGUE,
    DeliveryRequested,
    EchoReceived,
    ReceiptReported,
    StatusReported,
    TimerTicked,
    from_cloudevent,
)
from events.cloudevent import CloudEvent
from events.vocabulary import Media, ReceiptKind, Status, Text
from functions.dead_letter import func as dead_letter
from functions.deliver import func as deliver
from functions.inbound import func as inbound
from functions.record_status import func as record_status
from functions.redrive import func as redrive
from functions.route import func as route
from functions.send import func as send
from functions.webhook_dispatch import func as webhook_dispatch
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Fault, MemoryTables
from shared.domain.backoff import PARKED_SCHEDULE
from shared.domain.conversation import Conversation
from shared.domain.errors import Unavailable
from shared.domain.mailbox import Item, State
from shared.domain.message import Draft
from shared.domain.text import split
from shared.ports import Ports
from shared.ports.channel import InboundEcho, InboundMessage, InboundStatus, WebhookRequest
from shared.repositories import schema
from shared.repositories.channel_accounts import ChannelAccounts
from shared.repositories.conversations import Conversations
from shared.repositories.cursors import Cursors
from shared.repositories.deliveries import Deliveries, DeliveryRecord, ProviderMessage
from shared.repositories.due import DueList
from shared.repositories.listeners import Listeners
from shared.repositories.mailboxes import Mailbox, Mailboxes
from shared.repositories.parked import Parked, parked_id
from shared.repositories.presence import Presence
from shared.repositories.timeline import Timeline
from shared.repositories.webhooks import Webhooks
from shared.testing.atomic_outbox import AtomicOutbox
from shared.testing.build import NOON, a_webhook, an_event, an_id
from shared.testing.plain_vault import PlainVault
from shared.testing.scripted_provider import PARTS_OF, OneChannel, Outcome, Provider, channel_to
from shared.testing.trouble import Died, Trouble
from shared.ticks import Tick

TENANT, CONVERSATION = "acme", "c1"
MAILBOX = Mailbox(TENANT, "fake", "1", CONVERSATION)
PASSING = {schema.OUTBOX.name, schema.OUTBOX_SWEPT.name, schema.CURSORS.name, schema.DUE.name}
"""Tables of hints and promises: they may differ after trouble."""


class Sink:
    """The EventSink port over a log, with the house's troubles."""

    def __init__(self, house):
        self.house = house

    async def emit(self, *events):
        await self.append(*(event.to_cloudevent() for event in events))

    async def append(self, *events):
        fault = self.house.next_call("emit", None)
        if fault in (Fault.UNREACHED, Fault.SWALLOWED):
            raise Unavailable("the broker cannot be reached")
        await self.house.log.append(*events)
        if fault is Fault.LOST_ANSWER:
            raise Unavailable("the broker gave no answer")


@dataclass
class House:
    told: list = field(default_factory=list)  # what the provider's webhook says
    calls: int = 0
    failing: tuple[int, Trouble] | None = None
    died: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self):
        self.clock, self.log = SettableClock(), MemoryRecordLog()
        self.tables = MemoryTables(self.clock, fault=self.next_call)
        self.quiet = self.tables.quiet()
        self.provider = Provider(
            self.clock, [], _nothing, lambda: "", lambda event, late: None, lambda call: _nothing()
        )
        channel = channel_to(self.provider)
        channel.on_webhook_event = lambda channel, request: self.told
        self.ports = Ports(
            clock=self.clock,
            ids=CountedIds(),
            tables=self.tables,
            outbox=AtomicOutbox(self.tables, self.log),
            sink=Sink(self),
            log=self.log,
            cache=MemoryCache(),
            fan_out=None,
            vault=PlainVault(),
            hasher=None,
            channels=OneChannel(channel),
            sweeper=None,
            webhooks=None,
            objects=None,
            scanner=None,
        )
        self.timeline = Timeline(self.quiet, AtomicOutbox(self.quiet, self.log), MemoryCache(), self.clock)

    def next_call(self, method, table):
        if self.failing is None:
            return None
        self.calls += 1
        n, trouble = self.failing
        if trouble is Trouble.DEATH and self.calls >= n:
            self.died.set()
            raise Died
        return trouble.value if self.calls == n else None

    def facts(self):
        """Every lasting row, by table, and every event by its id."""
        rows = {
            table.name: sorted(repr(sorted(row.items())) for row in self.quiet.rows(table))
            for table in schema.TABLES
            if table.name not in PASSING
        }
        return rows, {record.event.attributes["id"]: record.event for record in self.log.records}

    async def somebody_listens(self):
        await Presence(self.quiet, self.log, self.clock).beat("g1")
        await Listeners(self.quiet).opened(TENANT, "g1")

    async def conversation(self, *texts, to=None, channels=("fake",), asking=True):
        conversation = Conversation(
            conversation_id=CONVERSATION, type="group", created_at=self.clock.now(), created_by="ana", metadata={}
        )
        await Conversations(self.quiet, self.clock).create(TENANT, conversation, ("ana", "bia"))
        await ChannelAccounts(self.quiet, PlainVault(), self.clock).put(
            TENANT, "fake", "us", settings={}, secrets={}, enabled=True, over=None
        )
        messages = []
        for number, text in enumerate(texts):
            draft = Draft(
                message_id=an_id(f"m{number}"),
                conversation_id=CONVERSATION,
                sender="ana",
                payload=Text(text=text),
                to=to,
                channels=channels,
                request_read_receipt=asking,
                request_delivery_receipt=asking,
            )
            accepted = await self.timeline.accept(TENANT, draft, source="/functions/send", traceparent=None)
            messages.append(accepted.message)
        return messages

    async def delivery(self, message, **changes):
        """A delivery of the message to fake:1, planned, in its mailbox."""
        record = DeliveryRecord(
            delivery_id=an_id(f"delivery of {message.message_id}"),
            message_id=message.message_id,
            conversation_id=CONVERSATION,
            seq=message.seq,
            recipient="fake:1",
            channel="fake",
            address="1",
        )
        await Deliveries(self.quiet).plan(TENANT, [record], self.clock.now())
        item = Item(
            seq=record.seq,
            delivery_id=record.delivery_id,
            message_id=record.message_id,
            recipient=record.recipient,
            **changes,
        )
        await Mailboxes(self.quiet).add(MAILBOX, item)
        return record, item


async def _nothing():
    pass


async def send_a_message(house):
    await house.conversation()
    # Where nobody does, push is woken all the same when that cannot be asked (ADR 42), and the event says so.
    await house.somebody_listens()
    function = send.new(house.ports)
    asked = an_event(
        _catalogued("chat4all.message.send.requested.v1")(
            conversation_id=CONVERSATION, sender="ana", payload=Text(text="olá"), channels=("fake",)
        ),
        id=an_id("asked"),
    )
    return lambda: function.handle(asked)


async def route_two_messages(house):
    messages = await house.conversation("um", "dois", to=("fake:1", "fake:2", "bia"))
    event = an_event(messages[-1])
    return lambda: route.new(house.ports).handle(event)


async def record_a_delivery(house):
    (message,) = await house.conversation("um", to=("fake:1",))
    record, _ = await house.delivery(message, state=State.SENT)
    known = ProviderMessage(record.delivery_id, 1, last_part=True)
    await Deliveries(house.quiet).know_provider_message(TENANT, "fake", "pm1", known)
    reported = StatusReported(
        channel="fake", status=Status.READ, at=house.clock.now(), source="provider", provider_message_id="pm1"
    )
    return lambda: record_status.new(house.ports).handle(an_event(reported))


async def settle_a_doubt(house):
    (message,) = await house.conversation("um", to=("fake:1",))
    until = house.clock.now() + timedelta(minutes=1)
    record, item = await house.delivery(message, state=State.UNCERTAIN, tries=1, until=until, text_hash="hash")
    await Mailboxes(house.quiet).doubt(MAILBOX, item, 1, house.clock.now())
    reported = StatusReported(
        channel="fake",
        status=Status.DELIVERED,
        at=house.clock.now(),
        source="provider",
        delivery_id=f"{record.delivery_id}.0.1",
        provider_message_id="pm1",
    )
    return lambda: record_status.new(house.ports).handle(an_event(reported))


async def match_an_echo(house):
    (message,) = await house.conversation("um", to=("fake:1",))
    until = house.clock.now() + timedelta(minutes=1)
    _, item = await house.delivery(message, state=State.UNCERTAIN, tries=1, until=until, text_hash="hash")
    await Mailboxes(house.quiet).doubt(MAILBOX, item, 1, house.clock.now())
    echo = EchoReceived(
        channel="fake",
        account_id="us",
        address="1",
        provider_message_id="pm1",
        text_hash="hash",
        at=house.clock.now(),
    )
    return lambda: record_status.new(house.ports).handle(an_event(echo))


async def tell_of_a_range(house):
    await house.conversation("um", "dois", "três", channels=("chat4all",))
    receipt = ReceiptReported(
        conversation_id=CONVERSATION,
        user_id="bia",
        kind=ReceiptKind.READ,
        from_seq=1,
        to_seq=3,
        at=house.clock.now(),
    )
    return lambda: record_status.new(house.ports).handle(an_event(receipt))


async def tell_two_webhooks(house):
    (message,) = await house.conversation("um", channels=("chat4all",))
    for number in (1, 2):
        await subscribe(house, f"webhook {number}", "message.*")
    return lambda: webhook_dispatch.new(house.ports).handle(an_event(message))


async def subscribe(house, webhook_id, *events):
    webhook = a_webhook(*events, webhook_id=webhook_id, at=house.clock.now())
    await Webhooks(house.quiet, PlainVault(), house.clock).add(TENANT, webhook)


async def tell_of_a_range_that_a_webhook_asks_for(house):
    await subscribe(house, "webhook", "message.read")
    await house.conversation("um", "dois", channels=("chat4all",), asking=False)
    receipt = ReceiptReported(
        conversation_id=CONVERSATION,
        user_id="bia",
        kind=ReceiptKind.READ,
        from_seq=1,
        to_seq=2,
        at=house.clock.now(),
    )
    return lambda: record_status.new(house.ports).handle(an_event(receipt))


async def take_a_webhook(house):
    (message,) = await house.conversation("um", to=("fake:1",))
    await house.delivery(message)
    now = house.clock.now()
    house.told = [
        InboundMessage("us", "77", "in1", Text(text="oi"), now, display_name="Caio"),
        InboundMessage("us", "77", "in2", Text(text="alguém?"), now),
        InboundStatus("us", "pm1", Status.DELIVERED, now),
        InboundEcho("us", "77", "pm2", "olá", now),
    ]
    request = WebhookRequest("POST", {}, {}, b"")
    return lambda: inbound.new(house.ports).receive(TENANT, "fake", request, None)


SAME = [
    send_a_message,
    route_two_messages,
    record_a_delivery,
    settle_a_doubt,
    match_an_echo,
    tell_of_a_range,
    tell_of_a_range_that_a_webhook_asks_for,
    tell_two_webhooks,
    take_a_webhook,
]


async def in_trouble(prepare, n, trouble):
    """The house after its n-th call has failed; whether there was such a call."""
    house = House()
    act = await prepare(house)
    house.failing = n, trouble
    acting, dying = asyncio.ensure_future(act()), asyncio.ensure_future(house.died.wait())
    await asyncio.wait((acting, dying), return_when=asyncio.FIRST_COMPLETED)
    dying.cancel()
    acting.cancel()
    with suppress(Unavailable, Died, asyncio.CancelledError):
        await acting
    happened = house.calls >= n
    house.failing = None
    return house, act, happened


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("prepare", SAME, ids=lambda prepare: prepare.__name__)
async def test_the_second_time_brings_about_what_the_first_would_have(prepare, trouble):
    quiet = House()
    act = await prepare(quiet)
    await act()
    rows, events = quiet.facts()
    await act()
    assert quiet.facts() == (rows, events), "twice is once"
    n, happened = 0, True
    while happened:
        n += 1
        house, act, happened = await in_trouble(prepare, n, trouble)
        await act()
        rows_now, events_now = house.facts()
        assert events_now.keys() == events.keys(), f"the same events after trouble at call {n}"
        if prepare is take_a_webhook:  # a contact's id is drawn
            assert {name: len(of) for name, of in rows_now.items()} == {name: len(of) for name, of in rows.items()}
        else:
            assert rows_now == rows, f"the same facts after trouble at call {n}"
            assert events_now == events
    assert n > 2


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("texts", [("um",), ("um", "dois"), ("um texto comprido demais", "dois")])
async def test_whatever_fails_a_mailbox_is_delivered_in_order_and_reported(texts, trouble):
    async def prepare(house):
        for message in await house.conversation(*texts, to=("fake:1",)):
            await house.delivery(message)
        return lambda: deliver.new(house.ports).handle(an_event(wake_up()))

    n, happened = 0, True
    while happened:
        n += 1
        house, _, happened = await in_trouble(prepare, n, trouble)
        for _ in range(6):  # the lease runs out, then the wait for a correlator
            await deliver.new(house.ports).handle(an_event(wake_up()))
            house.clock.advance(61)
        assert {row["state"] for row in house.quiet.rows(schema.MAILBOX)} == {"sent"}
        first = list(dict.fromkeys(call.correlator for call in house.provider.received))
        assert len(first) == sum(len(split(text, PARTS_OF)) for text in texts)
        assert len(house.provider.received) <= len(first) + 1, "one call in trouble, one repeat at most"
        reported = {
            event.data.message_id
            for record in house.log.records
            if (event := from_cloudevent(record.event, CATALOGUE)).data.TYPE == StatusReported.TYPE
            and event.data.status is Status.SENT
        }
        assert reported == {an_id(f"m{number}") for number in range(len(texts))}
    assert n > 8


async def test_a_caller_that_was_slow_to_begin_takes_its_row_anew():
    """A call that could outlive its lease is not made: somebody else may be asking already (C4)."""
    house = House()
    (message,) = await house.conversation("um", to=("fake:1",))
    await house.delivery(message)
    slow = [timedelta(seconds=25)]

    def stall(method, table):
        if (method, table) == ("update_if", schema.MAILBOX) and slow:
            house.clock.advance(slow.pop())
        return None

    house.tables.fault = stall
    started = house.clock.now()
    await deliver.new(house.ports).handle(an_event(wake_up()))
    (left,) = [from_cloudevent(record.event, CATALOGUE) for record in house.log.records[1:]]
    await deliver.new(house.ports).handle(left)
    assert len(house.provider.calls) == 1
    assert house.clock.now() - started >= timedelta(seconds=25)
    assert list(house.quiet.rows(schema.DUE)) == [], "every promise was kept, and is forgotten"
    assert {row["state"] for row in house.quiet.rows(schema.MAILBOX)} == {"sent"}


def wake_up():
    return DeliveryRequested(conversation_id=CONVERSATION, channel="fake", address="1", message_id=an_id("m0"), seq=1)


def given_up():
    attributes = {
        **an_event(wake_up(), id="given up").to_cloudevent().attributes,
        "knativeerrordest": "deliver",
        "knativeerrorcode": "503",
    }
    return CloudEvent(attributes, b"{}")


@pytest.mark.parametrize("trouble", Trouble)
async def test_whatever_fails_what_the_broker_gave_up_is_parked_with_a_promise(trouble):
    async def prepare(house):
        return lambda: dead_letter.new(house.ports).handle(given_up())

    n, happened = 0, True
    while happened:
        n += 1
        house, act, happened = await in_trouble(prepare, n, trouble)
        await act()
        parked = await Parked(house.quiet).get(TENANT, parked_id(given_up(), "deliver"))
        assert parked.attempts == 1, "only what was tried again uses up the schedule"
        due = [entry for entry in house.quiet.rows(schema.DUE) if entry["at"] == parked.due_at]
        assert [entry["due_id"] for entry in due] == [parked.parked_id], "it comes back by itself"
    assert n > 2


@pytest.mark.parametrize("trouble", Trouble)
async def test_whatever_fails_what_is_due_is_woken_and_then_gone(trouble):
    async def prepare(house):
        await dead_letter.new(house.ports).handle(given_up())
        for number in range(3):
            at = house.clock.now() + timedelta(seconds=20 * number)
            wake = an_event(wake_up(), id=f"wake {number}").to_cloudevent()
            await DueList(house.quiet, house.clock).add(TENANT, f"mailbox {number}", at, wake, kind="mailbox")
        minute = int(house.clock.now().timestamp()) // 60 - 2
        await Cursors(house.quiet).move("-", "due", "redrive", minute)  # or the first round looks back a day
        house.clock.advance(timedelta(minutes=5))
        return lambda: redrive.new(house.ports).handle(an_event(TimerTicked(name="redrive"), tenant="-"))

    n, happened = 0, True
    while happened:
        n += 1
        house, act, happened = await in_trouble(prepare, n, trouble)
        await act()
        woken = {record.event.attributes["id"] for record in house.log.records}
        assert woken == {"wake 0", "wake 1", "wake 2", "given up"}
        assert house.quiet.rows(schema.DUE) == []
        parked = await Parked(house.quiet).get(TENANT, parked_id(given_up(), "deliver"))
        assert parked.replayed_at is not None
    assert n > 8


class Refusing(Sink):
    """A broker whose subscriber refuses what it is handed, at once."""

    async def append(self, *events):
        await super().append(*events)
        for event in events:
            refused = CloudEvent({**event.attributes, **REFUSED}, event.data)
            await dead_letter.new(self.house.ports).handle(refused)


REFUSED = {"knativeerrordest": "deliver", "knativeerrorcode": "503"}


@pytest.mark.parametrize("by_hand", [True, False])
async def test_what_is_refused_again_before_its_replay_is_marked_stays_parked(by_hand):
    house = House()
    await dead_letter.new(house.ports).handle(given_up())
    house.ports = replace(house.ports, sink=Refusing(house))
    house.clock.advance(timedelta(minutes=5))
    entry = parked_id(given_up(), "deliver")
    if by_hand:
        assert await dead_letter.new(house.ports).replay(TENANT, entry)
    else:
        await redrive.new(house.ports).handle(an_event(TimerTicked(name="redrive"), tenant="-"))
    (parked,) = await Parked(house.quiet).list(TENANT, after=None, limit=10)
    assert (parked.attempts, parked.replayed_at) == (2, None)
    assert parked.due_at > house.clock.now()
    assert parked.due_at in {row["at"] for row in house.quiet.rows(schema.DUE)}, "it comes back by itself"


async def test_what_a_person_replays_early_and_is_refused_again_stays_parked():
    house = House()
    await dead_letter.new(house.ports).handle(given_up())
    house.ports = replace(house.ports, sink=Refusing(house))
    assert await dead_letter.new(house.ports).replay(TENANT, parked_id(given_up(), "deliver"))
    (parked,) = await Parked(house.quiet).list(TENANT, after=None, limit=10)
    assert parked.due_at in {row["at"] for row in house.quiet.rows(schema.DUE)}, "it comes back by itself"


async def test_what_is_refused_while_its_replay_is_marked_counts_on():
    house = House()
    await dead_letter.new(house.ports).handle(given_up())
    entry = parked_id(given_up(), "deliver")
    first = await Parked(house.quiet).get(TENANT, entry)
    marks = [first]

    async def mark():
        if marks:
            await Parked(house.quiet).replayed(TENANT, marks.pop(), house.clock.now())

    house.tables.checkpoint = mark
    decided = dead_letter.new(house.ports)
    house.clock.advance(timedelta(minutes=5))
    await decided.handle(given_up())
    parked = await Parked(house.quiet).get(TENANT, entry)
    assert (parked.attempts, parked.replayed_at) == (2, None)


async def test_a_long_mailbox_is_left_to_further_wake_ups_before_the_call_is_cut():
    """A Trigger cuts a call after 30 s, in the middle of whatever the provider is being asked (C8)."""
    house = House()
    for message in await house.conversation(*(f"{number}" for number in range(12)), to=("fake:1",)):
        await house.delivery(message)

    async def take_time():
        house.clock.advance(timedelta(seconds=2))

    house.provider.checkpoint = take_time
    wakes, longest = [an_event(wake_up())], timedelta()
    while wakes:
        began, known = house.clock.now(), len(house.log.records)
        await deliver.new(house.ports).handle(wakes.pop())
        longest = max(longest, house.clock.now() - began)
        emitted = [from_cloudevent(record.event, CATALOGUE) for record in house.log.records[known:]]
        wakes += [event for event in emitted if isinstance(event.data, DeliveryRequested)]
    assert longest < timedelta(seconds=15)
    assert [call.text for call in house.provider.calls] == [f"{number}" for number in range(12)]
    assert {row["state"] for row in house.quiet.rows(schema.MAILBOX)} == {"sent"}
    ids = [record.event.attributes["id"] for record in house.log.records]
    assert len(ids) == len(set(ids)), "every hand-over has its own id"


async def test_an_account_that_goes_during_a_call_fails_what_comes_after_it_only():
    house = House()
    for message in await house.conversation("um", "dois", to=("fake:1",)):
        await house.delivery(message)
    states = []

    async def remove():
        if not states:
            states.append(None)
            await ChannelAccounts(house.quiet, PlainVault(), house.clock).remove(TENANT, "fake", "us")
            await deliver.new(house.ports).handle(an_event(wake_up()))
            states.extend(row["state"] for row in house.quiet.rows(schema.MAILBOX))

    house.provider.checkpoint = remove
    await deliver.new(house.ports).handle(an_event(wake_up()))
    assert states == [None, "sending", "pending"], "a call that is under way is its caller's"
    assert [row["state"] for row in house.quiet.rows(schema.MAILBOX)] == ["sent", "failed"]


def an_echo(payload, at):
    return EchoReceived(
        channel="fake",
        account_id="us",
        address="1",
        provider_message_id="echoed",
        text_hash=hashlib.sha256(payload.encode()).hexdigest(),
        at=at,
    )


@pytest.mark.parametrize("echo_first", [True, False])
@pytest.mark.parametrize(("age", "matches"), [(timedelta(hours=5), False), (timedelta(seconds=1), True)])
async def test_an_echo_from_before_the_call_ends_no_doubt(echo_first, age, matches):
    """Somebody said the same hours ago in the provider's own app; a second is its clock's (channels.md 3.0)."""
    house = House()
    (message,) = await house.conversation("um", to=("fake:1",))
    await house.delivery(message)
    house.provider.outcomes = [Outcome(answers="unknown", takes=False)]
    echoed = an_event(an_echo("um", house.clock.now() - age))
    handlers = [(record_status, echoed), (deliver, an_event(wake_up()))]
    for module, event in handlers if echo_first else reversed(handlers):
        await module.new(house.ports).handle(event)
    for record in list(house.log.records):
        event = from_cloudevent(record.event, CATALOGUE)
        if isinstance(event.data, StatusReported):
            await record_status.new(house.ports).handle(event)
    (row,) = house.quiet.rows(schema.MAILBOX)
    assert row["state"] == ("sent" if matches else "uncertain")


async def test_the_echo_of_a_first_call_ends_the_doubt_of_the_second():
    house = House()
    (message,) = await house.conversation("um", to=("fake:1",))
    await house.delivery(message)
    house.provider.outcomes = [Outcome(answers="unknown"), Outcome(answers="unknown", takes=False)]
    began = house.clock.now()
    await deliver.new(house.ports).handle(an_event(wake_up()))
    house.clock.advance(61)
    await deliver.new(house.ports).handle(an_event(wake_up()))
    assert len(house.provider.calls) == 2
    known = len(house.log.records)
    await record_status.new(house.ports).handle(an_event(an_echo("um", began)))
    (settled,) = [from_cloudevent(record.event, CATALOGUE) for record in house.log.records[known:]]
    await record_status.new(house.ports).handle(settled)
    assert [row["state"] for row in house.quiet.rows(schema.MAILBOX)] == ["sent"]


def test_media_are_told_apart_by_no_echo():
    assert deliver.text_hash(Media(media_type="document", url="https://example.org/a.pdf")) == ""


async def test_an_echo_without_text_ends_no_doubt_about_media():
    house = House()
    (message,) = await house.conversation("um", to=("fake:1",))
    until = house.clock.now() + timedelta(minutes=1)
    _, item = await house.delivery(message, state=State.UNCERTAIN, tries=1, until=until, text_hash="")
    await Mailboxes(house.quiet).doubt(MAILBOX, item, 1, house.clock.now())
    for text_hash in ("", an_echo("", NOON).text_hash):
        echo = msgspec.structs.replace(an_echo("", house.clock.now()), text_hash=text_hash)
        await record_status.new(house.ports).handle(an_event(echo))
    assert StatusReported.TYPE not in {record.event.attributes["type"] for record in house.log.records}


def news_of(house):
    return [record.event for record in house.log.records if record.event.attributes["source"] == record_status.SOURCE]


async def test_a_fact_that_is_reported_by_two_is_told_under_one_id():
    house = House()
    (message,) = await house.conversation("um", to=("fake:1",))
    await house.delivery(message)
    await deliver.new(house.ports).handle(an_event(wake_up()))
    house.clock.advance(1)
    (reported,) = [from_cloudevent(record.event, CATALOGUE) for record in house.log.records[1:]]
    again = msgspec.structs.replace(reported.data, source="provider", at=house.clock.now())
    for event in (reported, an_event(again, id="the provider's")):
        await record_status.new(house.ports).handle(event)
    first, second = news_of(house)
    assert first.attributes["type"] == "chat4all.message.sent.v1"
    assert (first.attributes["id"], first.data) == (second.attributes["id"], second.data)


async def test_a_message_that_is_read_in_a_range_and_alone_is_told_under_one_id():
    house = House()
    await house.conversation("um", "dois", channels=("chat4all",))
    for from_seq, to_seq in ((1, 2), (2, 2)):
        receipt = ReceiptReported(
            conversation_id=CONVERSATION,
            user_id="bia",
            kind=ReceiptKind.READ,
            from_seq=from_seq,
            to_seq=to_seq,
            at=house.clock.now(),
        )
        await record_status.new(house.ports).handle(an_event(receipt, id=f"{from_seq} to {to_seq}"))
    told = [(event.attributes["type"], event.attributes["id"]) for event in news_of(house)]
    assert len(told) == 6
    assert len(set(told)) == len({of for _, of in told}) == 4


def a_foreign_status(at, delivery_id=""):
    data = StatusReported(
        channel="fake",
        status=Status.READ,
        at=at,
        source="provider",
        delivery_id=delivery_id,
        provider_message_id="by hand",
    )
    return an_event(data, id="foreign", at=at)


async def test_a_status_that_may_be_ours_is_asked_about_again_and_then_let_go():
    """What is not ours fills no list of parked events, on a channel without a correlator either (C7, C8)."""
    house = House()
    event = a_foreign_status(house.clock.now())
    with pytest.raises(Unavailable):
        await record_status.new(house.ports).handle(event)
    house.clock.advance(DELAY_OF_REDRIVE)
    await record_status.new(house.ports).handle(event)
    assert house.log.records == []


async def test_a_status_without_our_correlator_where_all_of_ours_have_it_is_let_go_at_once():
    house = House()
    kind = house.ports.channels.type_of("fake")
    kind.limits = replace(kind.limits, correlated=True)
    await record_status.new(house.ports).handle(a_foreign_status(house.clock.now()))
    with pytest.raises(Unavailable):
        await record_status.new(house.ports).handle(a_foreign_status(house.clock.now(), an_id("planned")))
    assert house.log.records == []


DELAY_OF_REDRIVE = PARKED_SCHEDULE[0] * 0.8


def _catalogued(kind):
    return CATALOGUE[kind]


@pytest.mark.parametrize(("promised", "kept"), [(True, 1), (False, 0)])
async def test_a_promised_wake_up_that_comes_too_early_comes_again(promised, kept):
    """Redrive woke it where the clock was ahead, and forgot the entry; by this clock there is time left (E1)."""
    house = House()
    (message,) = await house.conversation("um", to=("fake:1",))
    until = house.clock.now() + timedelta(minutes=5)
    record, _ = await house.delivery(message, state=State.WAITING, tries=1, until=until)
    wake = DeliveryRequested(
        conversation_id=CONVERSATION,
        channel="fake",
        address="1",
        message_id=record.message_id,
        seq=record.seq,
        wake="1.0.1.waiting" if promised else "",
    )
    await deliver.new(house.ports).handle(an_event(wake))

    house.clock.advance(timedelta(minutes=5, seconds=1))
    assert len((await DueList(house.quiet, house.clock).due(10, Tick(house.clock))).entries) == kept
