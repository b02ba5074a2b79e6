"""
What a backlog costs when all its wake-ups come at once, as after an outage: as much again for twice as many, not four
times as much. route plans each message once in a process, and what was planned before a handler was cut counts
(design.md 4; ADR 31).
"""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from events import CATALOGUE, TimerTicked, from_cloudevent
from events.vocabulary import Text
from functions.deliver import func as deliver
from functions.redrive import func as redrive
from functions.route import func as route
from shared.domain.message import Draft
from shared.repositories.channel_accounts import ChannelAccounts
from shared.repositories.due import DueList
from shared.repositories.schema import MAILBOX
from shared.repositories.timeline import Timeline
from shared.testing.build import an_event, an_id
from shared.testing.memory_ports import open_memory
from shared.testing.scripted_provider import OneChannel, Provider, channel_to

TENANT, CONVERSATION = "acme", "c1"


class House:
    """A conversation with a backlog, and a count of the calls to the tables."""

    def __init__(self, ports):
        self.tables, self.log, self.calls = ports.tables, ports.log, Counter()
        self.provider = Provider(
            ports.clock, [], _others_go_on, lambda: "", lambda event, late: None, lambda call: _others_go_on()
        )
        self.ports = replace(ports, channels=OneChannel(channel_to(self.provider)))

    async def backlog(self, messages):
        """So many messages to one address that nobody has planned; their events, in the order of seq."""
        await ChannelAccounts(self.tables, self.ports.vault, self.ports.clock).put(
            TENANT, "fake", "us", settings={}, secrets={}, enabled=True, over=None
        )
        timeline = Timeline(self.tables, self.ports.outbox, self.ports.cache, self.ports.clock)
        for number in range(messages):
            draft = Draft(
                message_id=an_id(f"message {number}"),
                conversation_id=CONVERSATION,
                sender="ana",
                payload=Text(text=f"olá {number}"),
                to=("fake:1",),
            )
            await timeline.accept(TENANT, draft, source="/functions/send", traceparent=None)
        self.tables.checkpoint, self.tables.fault = _others_go_on, self._count
        return self.emitted()

    def _count(self, method, table):
        self.calls[method, table.name] += 1

    def emitted(self, after=0):
        return [from_cloudevent(record.event, CATALOGUE) for record in self.log.records[after:]]

    @property
    def planned(self):
        return self.calls["put_if_absent", MAILBOX.name]

    def rows(self):
        return sorted(row["seq"] for row in self.tables.rows(MAILBOX))


@asynccontextmanager
async def a_house():
    async with open_memory({}) as ports:
        yield House(ports)


@pytest.fixture
async def house():
    async with a_house() as house:
        yield house


async def cost(messages, processes=1):
    """Of waking route in each process for every message of a backlog: (messages planned, calls to the tables)."""
    async with a_house() as house:
        events = await house.backlog(messages)
        functions = [route.new(house.ports) for _ in range(processes)]
        await asyncio.gather(*(function.handle(event) for event in events for function in functions))
        assert house.rows() == [*range(1, messages + 1)]
        return house.planned, house.calls.total()


async def test_wake_ups_of_one_process_plan_each_message_once():
    planned, _ = await cost(messages=60)
    assert planned == 60


@pytest.mark.parametrize("processes", [2, 3])
async def test_processes_plan_a_message_once_each_at_most(processes):
    planned, _ = await cost(messages=60, processes=processes)
    assert planned <= 60 * processes


async def test_what_a_backlog_costs_route_grows_as_the_backlog_does():
    _, small = await cost(messages=30)
    _, large = await cost(messages=120)
    assert large <= 4 * small * 1.1


async def cost_of_delivering(messages):
    """Of waking deliver for every row of a mailbox at once: calls to the tables."""
    async with a_house() as house:
        events = await house.backlog(messages)
        await route.new(house.ports).handle(events[-1])
        house.calls.clear()
        await asyncio.gather(*map(deliver.new(house.ports).handle, house.emitted(after=messages)))
        assert len(house.provider.received) == messages
        return house.calls.total()


async def test_a_mailbox_that_many_due_wake_ups_want_is_delivered_in_order(house):
    """Redrive wakes many at once; what comes first to a recipient is the mailbox's to say, not the wake-ups'."""
    events = await house.backlog(60)
    await route.new(house.ports).handle(events[-1])
    wakes = [event.to_cloudevent() for event in house.emitted(after=60)]
    due = DueList(house.tables.quiet(), house.ports.clock)
    for number, wake in enumerate(reversed(wakes)):
        at = house.ports.clock.now() - timedelta(minutes=1)
        await due.add(TENANT, f"wake {number}", at, wake, kind="mailbox")
    before = len(house.log.records)
    await asyncio.sleep(0.01)  # an entry is due a moment after it was written
    await redrive.new(house.ports).handle(an_event(TimerTicked(name="redrive"), tenant="-"))
    woken = house.emitted(before)
    assert len(woken) == len(wakes)
    await asyncio.gather(*map(deliver.new(house.ports).handle, woken))
    assert [call.text for call in house.provider.received] == [f"olá {number}" for number in range(60)]


async def test_what_a_backlog_costs_deliver_grows_as_the_backlog_does():
    small, large = await cost_of_delivering(30), await cost_of_delivering(120)
    assert large <= 4 * small * 1.1


async def test_wake_ups_in_any_order_plan_in_the_order_of_the_conversation(house):
    events = await house.backlog(50)
    before = len(house.log.records)
    await asyncio.gather(*map(route.new(house.ports).handle, reversed(events)))
    assert [event.data.seq for event in house.emitted(before)] == [*range(1, 51)]


async def test_a_handler_that_is_cut_leaves_the_rest_to_the_next_one(house):
    """The Trigger's time-out falls always before the backlog is planned; nothing may begin again at its start."""
    cuts, last = 0, (await house.backlog(300))[-1]
    function = route.new(house.ports)
    while house.rows() != [*range(1, 301)]:
        cuts += 1
        assert cuts < 50, "it does not get ahead"
        handling = asyncio.create_task(function.handle(last))
        await _turns(250)
        handling.cancel()
        with suppress(asyncio.CancelledError):
            await handling
    assert house.planned <= 300 + cuts * route.PAGE


async def test_who_waits_for_a_handler_that_is_cut_goes_on_itself(house):
    events = await house.backlog(40)
    function = route.new(house.ports)
    first, second, third = (asyncio.create_task(function.handle(event)) for event in events[-3:])
    await _turns(20)
    first.cancel()
    second.cancel()
    await third
    assert house.rows() == [*range(1, 41)]


async def test_conversations_do_not_wait_for_each_other(house):
    events = await house.backlog(5)
    function = route.new(house.ports)
    async with function.lanes.of((TENANT, "another conversation")):
        await function.handle(events[-1])
    assert house.rows() == [1, 2, 3, 4, 5]


async def _others_go_on():
    await asyncio.sleep(0)


async def _turns(count):
    for _ in range(count):
        await asyncio.sleep(0)
