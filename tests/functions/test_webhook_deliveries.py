"""
Whichever call to a port fails, or whenever the process dies, a webhook is told what happened, under one id, and nothing
of it is left on the due list (D3, A11, E1). Over real HTTP, on tables in memory and a clock that is set.
"""

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from events import CATALOGUE, Event, TimerTicked, WebhookRequested, from_cloudevent
from events.vocabulary import Text
from functions.redrive import func as redrive
from functions.webhook_deliver import func as webhook_deliver
from functions.webhook_deliver.lanes import Lanes
from functions.webhook_dispatch import func as webhook_dispatch
from functions.webhooks import func as webhooks
from shared.adapters.http.webhook_sender import webhook_sender
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Fault, MemoryTables
from shared.domain.errors import Unavailable
from shared.domain.webhook import Answer, State, WebhookPolicy
from shared.ports import Ports
from shared.ports.tables import Put
from shared.repositories import schema
from shared.repositories.due import DueList
from shared.repositories.webhook_deliveries import WebhookDeliveries
from shared.repositories.webhooks import Webhooks
from shared.testing.build import a_message_accepted, a_webhook, an_event
from shared.testing.live import eventually
from shared.testing.plain_vault import PlainVault
from shared.testing.receiver import Receiver, Reply
from shared.testing.trouble import Died, Trouble
from shared.ticks import Tick

TENANT = "acme"
TICK = "chat4all.timer.ticked.v1"


class House:
    """The functions of webhooks over one store; ``failing`` is the call that goes wrong, and how."""

    def __init__(self, sender, policy=None):
        self.clock, self.log = SettableClock(), MemoryRecordLog()
        self.tables = MemoryTables(self.clock, fault=self.next_call)
        self.calls, self.failing, self.died = 0, None, asyncio.Event()
        self.ports = Ports(
            clock=self.clock,
            ids=CountedIds(),
            tables=self.tables,
            outbox=None,
            sink=self,
            log=self.log,
            cache=MemoryCache(monotonic=lambda: self.clock.now().timestamp()),
            fan_out=None,
            vault=PlainVault(),
            hasher=None,
            channels=None,
            sweeper=None,
            objects=None,
            scanner=None,
            webhooks=sender,
            webhook_policy=policy or WebhookPolicy(schedule=(timedelta(minutes=1),) * 9, timeout=timedelta(seconds=5)),
        )
        self.quiet = self.tables.quiet()
        self.deliveries = WebhookDeliveries(self.quiet)
        self.handled = 0
        self.begin()

    def begin(self):
        """As a process does: nothing is remembered but what is stored."""
        self.dispatch = webhook_dispatch.new(self.ports)
        self.deliver = webhook_deliver.new(self.ports)
        self.redrive = redrive.new(self.ports)

    def next_call(self, method, table):
        if self.failing is None:
            return None
        self.calls += 1
        n, trouble = self.failing
        if trouble is Trouble.DEATH and self.calls >= n:
            self.died.set()
            raise Died
        return trouble.value if self.calls == n else None

    async def emit(self, *events):
        await self.append(*(event.to_cloudevent() for event in events))

    async def append(self, *events):
        fault = self.next_call("emit", None)
        if fault in (Fault.UNREACHED, Fault.SWALLOWED):
            raise Unavailable("the broker cannot be reached")
        await self.log.append(*events)
        if fault is Fault.LOST_ANSWER:
            raise Unavailable("the broker gave no answer")

    async def subscribe(self, url, webhook_id="w", tenant=TENANT):
        now = self.clock.now()
        minute = int(now.timestamp() // 60) - 5  # where redrive begins to look, instead of a day ago
        cursor = {"tenant": "-", "conversation_id": "due", "reader": "redrive", "seq": minute}
        await self.quiet.put(Put(schema.CURSORS, cursor))
        webhook = a_webhook("message.accepted", webhook_id=webhook_id, url=url, at=now)
        await Webhooks(self.quiet, PlainVault(), self.clock).add(tenant, webhook)

    async def webhook(self, webhook_id="w"):
        return await Webhooks(self.quiet, PlainVault(), self.clock).get(TENANT, webhook_id)

    async def happens(self, name="m1", tenant=TENANT):
        now = self.clock.now()
        await self.log.append(an_event(a_message_accepted(name, at=now), at=now, tenant=tenant).to_cloudevent())

    async def handle(self, event):
        typed = from_cloudevent(event, CATALOGUE)
        if typed.data.TYPE == WebhookRequested.TYPE:
            await self.deliver.handle(typed)
        elif typed.data.TYPE == "chat4all.message.accepted.v1":
            await self.dispatch.handle(typed)

    async def run(self):
        """What the broker brings, each event until it is handled."""
        while self.handled < len(self.log.records):
            record = self.log.records[self.handled]
            for _ in range(3):
                with suppress(Unavailable):
                    await self.handle(record.event)
                    break
            self.handled += 1

    async def tick(self):
        tick = Event(id="t", source="/timers", tenant="-", time=self.clock.now(), data=TimerTicked(name="redrive"))
        with suppress(Unavailable):
            await self.redrive.handle(tick)

    async def until_quiet(self, rounds=30):
        for _ in range(rounds):
            await self.run()
            if self.states() and not self.quiet.rows(schema.DUE):
                break  # whatever is not finished has an entry there
            self.clock.advance(timedelta(seconds=20))
            await self.tick()
        await self.run()

    def states(self):
        return [row["state"] for row in self.quiet.rows(schema.WEBHOOK_TABLES[1])]


@pytest.fixture
async def sender():
    async with webhook_sender(private_allowed=True) as opened:
        yield opened


@pytest.mark.timeout(300)  # it begins anew for every call that may fail: 50 s of CPU
@pytest.mark.parametrize("refusals", [0, 2])
@pytest.mark.parametrize("trouble", Trouble)
async def test_whatever_fails_it_is_told_under_one_id_and_nothing_is_left(sender, trouble, refusals):
    n = 0
    while True:
        n += 1
        with Receiver() as receiver:
            answers = iter([Reply(500)] * refusals)
            receiver.answer = lambda taken, answers=answers: next(answers, Reply())
            house = House(sender)
            await house.subscribe(receiver.url())
            await house.happens()
            house.failing = n, trouble
            acting = asyncio.ensure_future(house.until_quiet(rounds=12))
            dying = asyncio.ensure_future(house.died.wait())
            await asyncio.wait((acting, dying), return_when=asyncio.FIRST_COMPLETED)
            dying.cancel()
            acting.cancel()
            with suppress(Unavailable, Died, asyncio.CancelledError):
                await acting
            happened, house.failing = house.calls >= n, None
            house.begin()
            house.handled = 0  # the broker brings again what nobody committed
            await house.until_quiet()
            assert house.states() == [State.DELIVERED], n
            assert len({taken.notification_id for taken in receiver.taken}) == 1
            assert not house.quiet.rows(schema.DUE), n
        if not happened:
            break
    assert n > 8


async def test_a_webhook_that_hangs_holds_so_many_and_what_waits_goes_on_after_it(sender):
    with Receiver() as receiver:
        free = threading.Event()
        receiver.answer = lambda taken: free.wait(30) and Reply()
        policy = WebhookPolicy(timeout=timedelta(seconds=20), in_flight=3)
        house = House(sender, policy)
        await house.subscribe(receiver.url())
        for n in range(8):
            await house.happens(f"m{n}")
        for record in list(house.log.records):
            await house.handle(record.event)
        wakes = [
            record.event for record in house.log.records if record.event.attributes["type"] == WebhookRequested.TYPE
        ]
        tasks = [asyncio.ensure_future(house.handle(wake)) for wake in wakes]
        for left in asyncio.as_completed(tasks, timeout=30):
            await left
            if sum(not task.done() for task in tasks) == 3:
                break  # the others hold nothing of ours
        await asyncio.to_thread(eventually, lambda: len(receiver.taken) == 3)
        assert sum(not task.done() for task in tasks) == 3
        free.set()
        await asyncio.gather(*tasks)
        assert len(receiver.taken) == 8
        assert house.states() == [State.DELIVERED] * 8


class Gated:
    """A receiver whose first call answers when ``free`` is set, and WebhookDeliveries whose next ``get`` waits."""

    def __init__(self, house):
        self.free, self.reached, self.go = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.calls, self.breaks = 0, None
        self._deliveries, self.slow = house.deliver.deliveries, False
        house.deliver = replace(house.deliver, sender=self, deliveries=self)

    async def post(self, *_, **__):
        self.calls += 1
        if self.calls == 1:
            await self.free.wait()
            if self.breaks is not None:
                raise self.breaks
        return Answer(status_code=200)

    async def get(self, *which):
        found = await self._deliveries.get(*which)
        if self.slow:
            self.slow = False
            self.reached.set()
            await self.go.wait()
        return found

    def __getattr__(self, name):
        return getattr(self._deliveries, name)


async def two_wake_ups(house):
    await house.subscribe("https://receiver.example/")
    for name in ("m1", "m2"):
        await house.happens(name)
    for record in list(house.log.records):
        await house.handle(record.event)
    return [record.event for record in house.log.records[2:]]


async def test_a_place_that_comes_free_while_one_is_refused_it_is_taken(sender):
    house = House(sender, WebhookPolicy(in_flight=1))
    one, two = await two_wake_ups(house)
    gated = Gated(house)
    first = asyncio.create_task(house.handle(one))
    await asyncio.to_thread(eventually, lambda: gated.calls == 1)
    gated.slow = True
    second = asyncio.create_task(house.handle(two))
    await gated.reached.wait()
    gated.free.set()
    await first  # the only try ends, and nobody waits yet
    gated.go.set()
    await second
    assert house.states() == [State.DELIVERED] * 2


async def test_who_waits_behind_a_try_that_breaks_is_woken(sender):
    house = House(sender, WebhookPolicy(in_flight=1))
    one, two = await two_wake_ups(house)
    gated = Gated(house)
    gated.breaks = Unavailable("the tables are away")
    first = asyncio.create_task(house.handle(one))
    await asyncio.to_thread(eventually, lambda: gated.calls == 1)
    await house.handle(two)
    gated.free.set()
    with pytest.raises(Unavailable):
        await first
    house.handled = 4
    await house.run()
    assert sorted(house.states()) == [State.DELIVERED, State.SENDING], "the other one's lease goes on"


async def test_what_is_removed_or_switched_off_is_given_up(sender):
    with Receiver() as receiver:
        house = House(sender)
        await house.subscribe(receiver.url())
        await house.happens()
        await house.dispatch.handle(from_cloudevent(house.log.records[0].event, CATALOGUE))
        await Webhooks(house.quiet, PlainVault(), house.clock).remove(TENANT, "w")
        await house.until_quiet(rounds=2)
        assert house.states() == [State.FAILED]
        assert not receiver.taken and not house.quiet.rows(schema.DUE)


async def test_what_is_kept_of_a_message_with_a_ttl_has_no_text(sender):
    """A delivery is kept for 30 days, and its body as it was sent (A15)."""
    house = House(sender)
    await house.subscribe("https://receiver.example/")
    for name, ends in (("m1", None), ("m2", house.clock.now() + timedelta(minutes=1))):
        message = a_message_accepted(name, payload=Text(text="canary"), expires_at=ends)
        await house.dispatch.handle(an_event(message, at=house.clock.now(), tenant=TENANT))
    bodies = [row["body"] for row in house.quiet.rows(schema.WEBHOOK_TABLES[1])]
    assert sorted(b"canary" in body for body in bodies) == [False, True]
    assert not any(b"canary" in record.event.data for record in house.log.records)


async def test_nothing_that_works_for_days_is_switched_off_and_one_success_clears_it(sender):
    with Receiver() as receiver:
        receiver.answer = lambda taken: Reply(500)
        house = House(sender, WebhookPolicy(schedule=(timedelta(hours=6),) * 40, disable_after=timedelta(days=2)))
        await house.subscribe(receiver.url())
        await house.happens()
        await house.run()
        assert (await house.webhook()).failing_since == house.clock.now()
        receiver.answer = lambda taken: Reply()
        house.clock.advance(timedelta(hours=8))
        await house.tick()
        await house.run()
        assert (await house.webhook()).failing_since is None
        receiver.answer = lambda taken: Reply(500)
        await house.happens("m2")
        for _ in range(12):
            await house.run()
            house.clock.advance(timedelta(hours=8))
            await house.tick()
        webhook = await house.webhook()
        assert (webhook.enabled, webhook.disabled_reason) == (False, "failing")
        told = [record.event for record in house.log.records if "disabled" in record.event.attributes["type"]]
        assert len({event.attributes["id"] for event in told}) == 1
        awake = webhooks.decide(webhook, {"enabled": True})
        assert (awake.enabled, awake.disabled_reason, awake.failing_since) == (True, None, None)


async def test_a_tenant_whose_webhooks_all_hang_leaves_places_for_another(sender):
    with Receiver() as silent, Receiver() as receiver:
        free = threading.Event()
        silent.answer = lambda taken: free.wait(30) and Reply()
        house = House(sender, WebhookPolicy(timeout=timedelta(seconds=20), at_once=12, in_flight=10))
        for n in range(20):
            await house.subscribe(silent.url(), f"silent-{n}")
        await house.happens()
        await house.handle(house.log.records[0].event)
        hanging = [asyncio.ensure_future(house.handle(record.event)) for record in house.log.records[1:]]
        await asyncio.to_thread(eventually, lambda: silent.taken)
        await asyncio.sleep(0.2)
        assert len(silent.taken) == sum(not task.done() for task in hanging) == 6, "half of the places"

        await house.subscribe(receiver.url(), "good", tenant="other")
        for n in range(30):
            await house.happens(f"n{n}", tenant="other")
        house.handled = 21
        async with asyncio.timeout(10):
            await house.run()
        assert len(receiver.taken) == 30
        assert len(silent.taken) == 6
        free.set()
        await asyncio.gather(*hanging)
        assert house.states() == [State.DELIVERED] * 50


@pytest.mark.parametrize(("tenants", "each"), [(1, 50), (2, 33), (4, 20)])
def test_tenants_who_hang_have_no_more_than_is_left_to_others(tenants, each):
    lanes = Lanes(100, 10)
    hanging = [(str(tenant), str(n)) for n in range(20) for tenant in range(tenants)]
    held = [lane for _ in range(100) for lane in hanging if lanes.enter(lane)]
    for tenant in range(tenants):
        assert each - 2 <= sum(of == str(tenant) for of, _ in held) <= each
    assert lanes.enter(("newcomer", "w"))


def test_a_tenants_webhooks_that_hang_leave_a_place_for_another_of_its_own():
    lanes = Lanes(100, 10)
    while any([lanes.enter(("acme", str(n))) for n in range(20)]):
        pass
    assert lanes.enter(("acme", "another"))


def test_lanes_forget_who_has_nothing_under_way():
    lanes, lane = Lanes(2, 1), ("acme", "w")
    event = an_event(WebhookRequested(webhook_id="w", delivery_id="d"))
    assert lanes.enter(lane) and not lanes.enter(lane)
    lanes.wait(lane, event)
    assert lanes.next() is None
    lanes.leave(lane)
    assert lanes.next() is event and lanes.next() is None
    assert lanes.enter(lane)
    lanes.leave(lane)
    assert (lanes._tenants, lanes._lanes, lanes._waiting) == ({}, {}, {})


def test_what_is_woken_again_waits_once():
    lanes, lane = Lanes(2, 1), ("acme", "w")
    first, again = (an_event(WebhookRequested(webhook_id="w", delivery_id="d", wake=wake)) for wake in ("1", "2"))
    lanes.wait(lane, first)
    lanes.wait(lane, again)
    assert [lanes.next(), lanes.next()] == [again, None]


def test_so_many_wait_of_all_webhooks_and_whoever_has_most_gives_way():
    lanes = Lanes(2, 1, most_waiting=4)

    def wait(webhook_id, delivery_id):
        event = an_event(WebhookRequested(webhook_id=webhook_id, delivery_id=delivery_id))
        lanes.wait(("acme", webhook_id), event)

    for n in range(6):
        wait("many", str(n))
    for name in ("few", "other"):
        wait(name, name)
    left = {event.data.delivery_id for event in iter(lanes.next, None)}
    assert left == {"4", "5", "few", "other"}
    assert not lanes._waiting


def test_what_waits_takes_turns_by_webhook():
    lanes = Lanes(2, 1)
    wakes = {
        (name, n): an_event(WebhookRequested(webhook_id=name, delivery_id=f"{name}{n}"))
        for name in "ab"
        for n in (1, 2)
    }
    for (name, _), event in wakes.items():
        lanes.wait(("acme", name), event)
    order = [lanes.next() for _ in range(5)]
    assert order == [wakes["a", 1], wakes["b", 1], wakes["a", 2], wakes["b", 2], None]


@pytest.mark.parametrize("state", [State.WAITING, State.SENDING])
async def test_a_wake_up_that_comes_before_its_time_by_this_clock_comes_again(sender, state):
    """Redrive woke it in a process whose clock is ahead, and forgot the entry (E1)."""
    with Receiver() as receiver:
        answers = iter([Reply(500)])
        receiver.answer = lambda taken: next(answers, Reply())
        house = House(sender)
        await house.subscribe(receiver.url())
        await house.happens()
        if state is State.SENDING:  # who took it died while calling, so that only the entry brings it back
            dies_in_the_call(house)
            with suppress(Died):
                await house.run()
            house.handled = len(house.log.records)
            house.begin()
        else:
            await house.run()
        assert house.states() == [state]
        (promised,) = house.quiet.rows(schema.DUE)
        clock = SettableClock(promised["at"] + timedelta(seconds=1))
        ahead = DueList(house.quiet, clock)
        woken = await ahead.due(10, Tick(clock))
        await ahead.done(*woken.entries)
        assert not house.quiet.rows(schema.DUE)
        for entry in woken.entries:
            await house.handle(entry.wake)
        assert house.states() == [state], "not before its time"
        await house.until_quiet(rounds=12)
        assert house.states() == ["delivered"]


def dies_in_the_call(house):
    class Dying:
        async def post(self, *_, **__):
            raise Died

    house.deliver = webhook_deliver.new(replace(house.ports, webhooks=Dying()))
