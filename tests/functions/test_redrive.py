"""A tick of redrive wakes as much as there is time for, each once, and one that fails keeps nobody from waking (C8)."""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest

from events import CloudEvent, TimerTicked
from functions.dead_letter.func import DeadLetter
from functions.redrive import func as redrive
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.tables import MemoryTables
from shared.domain.errors import TooLarge, Unavailable
from shared.repositories.due import DueList
from shared.repositories.parked import Parked
from shared.repositories.schema import CURSORS, DUE
from shared.testing.build import a_message_accepted, an_event
from shared.ticks import AT_ONCE, BUDGET

TICK = an_event(TimerTicked(name="redrive"), tenant="-")


class House:
    """Redrive on a broker that takes ``seconds`` for an event, and refuses those that are ``refused``."""

    def __init__(self):
        self.clock = SettableClock()
        self.tables = MemoryTables(self.clock)
        self.due, self.parked = DueList(self.tables, self.clock), Parked(self.tables)
        self.redrive = redrive.Redrive(self.clock, self, self.due, self.parked)
        self.woken, self.tried, self.refused, self.too_large, self.seconds = [], 0, set(), set(), 0
        self.refusal: Exception = Unavailable("the broker does not take it")
        self.under_way, self.most = Counter(), Counter()

    async def append(self, *events):
        async with self._counted("appends"):
            self.clock.advance(self.seconds)
            for event in events:
                self.tried += 1
                if event.attributes["id"] in self.too_large:
                    raise TooLarge("above 1 MiB")
                if event.attributes["id"] in self.refused:
                    raise self.refusal
                self.woken.append(event.attributes["id"])

    def count_deletes(self):
        delete = self.tables.delete

        async def counted(table, *keys):
            async with self._counted("deletes"):
                await delete(table, *keys)

        self.tables.delete = counted

    def _counted(self, what):
        house = self

        class Counted:
            async def __aenter__(self):
                house.under_way[what] += 1
                house.most[what] = max(house.most[what], house.under_way[what])
                await asyncio.sleep(0)

            async def __aexit__(self, *error):
                house.under_way[what] -= 1

        return Counted()

    async def promise(self, count, *, parked=False):
        """So many entries that are due, on several minutes; the ids of what they want."""
        await self.redrive.handle(TICK)  # or the first round looks back a day
        dead_letter = DeadLetter(self.clock, self, self.parked, self.due)
        ids = []
        for number in range(count):
            event = an_event(a_message_accepted(f"m{number}"), id=f"e{number}").to_cloudevent()
            ids.append(event.attributes["id"])
            if parked:
                await dead_letter.handle(CloudEvent({**event.attributes, "knativeerrordest": "t"}, event.data))
            else:
                await self.due.add("acme", ids[-1], self.clock.now(), event, kind="mailbox")
            if number % 20 == 19:
                self.clock.advance(30)
        self.clock.advance(timedelta(minutes=5))
        return ids

    @property
    def waiting(self):
        return len(self.tables.rows(DUE))


@pytest.fixture
def house():
    return House()


@pytest.fixture(autouse=True)
def small_rounds(monkeypatch):
    monkeypatch.setattr(redrive, "_ROUND", 10)


@pytest.mark.parametrize("parked", [False, True])
async def test_a_tick_takes_as_many_rounds_as_there_are(house, parked):
    ids = await house.promise(95, parked=parked)
    await house.redrive.handle(TICK)
    assert Counter(house.woken) == Counter(ids)
    assert house.waiting == 0
    await house.redrive.handle(TICK)
    assert len(house.woken) == 95


async def test_what_a_tick_has_no_time_for_the_next_one_wakes(house):
    ids = await house.promise(95)
    house.seconds = 1
    woken = [0]
    while house.waiting:
        began = house.clock.now()
        await house.redrive.handle(TICK)
        assert house.clock.now() - began <= BUDGET + timedelta(seconds=10), "a round may be under way"
        woken.append(len(house.woken))
        house.clock.advance(timedelta(minutes=1))
    assert len(woken) > 3
    assert all(later > sooner for sooner, later in pairwise(woken))
    assert Counter(house.woken) == Counter(ids), "each once, however many ticks it took"


async def test_one_that_fails_keeps_nobody_from_waking_and_waits_for_the_next_tick(house):
    ids = await house.promise(95, parked=True)
    house.refused = {"e3", "e50"}
    with pytest.raises(Unavailable):
        await house.redrive.handle(TICK)
    assert Counter(house.woken) == Counter(set(ids) - house.refused)
    assert house.waiting == 2
    house.refused = set()
    house.clock.advance(timedelta(hours=3))  # further than anybody looks back
    await house.redrive.handle(TICK)
    assert Counter(house.woken) == Counter(ids)
    assert house.waiting == 0


async def test_a_broker_that_takes_nothing_is_not_asked_for_all(house):
    ids = await house.promise(300)
    house.refused = set(ids)
    with pytest.raises(Unavailable):
        await house.redrive.handle(TICK)
    assert house.tried < 2 * AT_ONCE
    assert house.waiting == 300
    house.refused = set()
    house.clock.advance(timedelta(hours=3))
    await house.redrive.handle(TICK)
    assert sorted(house.woken) == sorted(ids)


@pytest.mark.parametrize("parked", [False, True])
async def test_what_can_never_be_woken_is_put_off_and_holds_up_nothing(house, monkeypatch, caplog, parked):
    """As many as would look like a broker that is away, at the head of a round."""
    monkeypatch.setattr(redrive, "_ROUND", 1000)
    ids = await house.promise(95, parked=parked)
    house.refused, house.refusal = set(ids[:60]), ValueError("no broker will ever take it")
    await house.redrive.handle(TICK)
    assert sorted(house.woken) == sorted(ids[60:])
    assert house.waiting == 60
    assert "cannot be woken" in caplog.text
    tried = house.tried
    await house.redrive.handle(TICK)
    assert house.tried == tried, "not before an hour has passed"
    house.refused = set()
    house.clock.advance(timedelta(hours=1))
    await house.redrive.handle(TICK)
    assert sorted(house.woken) == sorted(ids)
    assert house.waiting == 0


async def tick(house):
    with suppress(Unavailable):
        await house.redrive.handle(TICK)


@pytest.fixture
def short_days(monkeypatch):
    """A round walks 300 minutes instead of two days, a look back 40."""
    monkeypatch.setattr("shared.repositories.due._MINUTES_AT_ONCE", 300)
    monkeypatch.setattr("shared.repositories.due.DAY", 40)


async def test_wakes_that_the_broker_never_takes_stop_no_other_after_days(short_days, house):
    """Broken ones that come at different times: some are always left of a round."""
    for number in range(16):
        for name in ("refused", "later"):
            house.refused |= {f"refused {number}"} if number < 5 else set()
            event = an_event(a_message_accepted("m"), id=f"{name} {number}").to_cloudevent()
            await house.due.add("acme", f"{name} {number}", house.clock.now(), event, kind="mailbox")
        for _ in range(2):
            house.clock.advance(timedelta(minutes=20))
            await tick(house)
    assert set(house.woken) == {f"later {n}" for n in range(16)} | {f"refused {n}" for n in range(5, 16)}
    assert house.waiting == 5
    house.refused = set()
    house.clock.advance(timedelta(hours=1, minutes=1))
    await tick(house)
    assert house.waiting == 0


async def test_the_only_one_that_is_due_stops_none_that_comes_after_days(short_days, house):
    (lonely,) = await house.promise(1)
    house.refused = {lonely}
    for _ in range(40):
        house.clock.advance(timedelta(minutes=20))
        await tick(house)
    event = an_event(a_message_accepted("m"), id="later").to_cloudevent()
    await house.due.add("acme", "later", house.clock.now(), event, kind="mailbox")
    house.clock.advance(60)
    await tick(house)
    assert house.woken == ["later"]


async def test_a_partition_that_is_away_stops_none_of_the_others(house, monkeypatch):
    """Those that failed are the oldest of the next tick, and as many as would look like a broker that is away."""
    monkeypatch.setattr(redrive, "_ROUND", 1000)
    ids = await house.promise(400)
    house.refused = set(ids[:80])
    for _ in range(4):
        await tick(house)
    assert Counter(house.woken) == Counter(ids[80:])


async def test_what_fails_for_an_hour_while_others_are_woken_is_put_off(house, monkeypatch):
    *good, broken = await house.promise(21)
    # Before it failed others must have been woken: chance puts it first now and then, and the next tick tells.
    monkeypatch.setattr(redrive.random, "sample", lambda items, _: sorted(items, key=lambda one: broken in one[0]))
    house.refused = {broken}
    house.clock.advance(timedelta(hours=2))
    await tick(house)
    assert sorted(house.woken) == sorted(good)
    tried = house.tried
    house.clock.advance(timedelta(minutes=59))
    await tick(house)
    assert house.tried == tried
    house.refused = set()
    house.clock.advance(timedelta(minutes=2))
    await tick(house)
    assert house.woken[-1] == broken


async def test_a_broker_that_was_away_for_hours_is_given_everything_by_the_first_tick_after(house):
    """Nothing was woken meanwhile, so nothing is put off: it is not they that are broken."""
    ids = await house.promise(30)
    house.refused = set(ids)
    for _ in range(9):
        house.clock.advance(timedelta(minutes=20))
        await tick(house)
    assert house.woken == []
    house.refused = set()
    await tick(house)
    assert sorted(house.woken) == sorted(ids)
    assert house.waiting == 0


@pytest.mark.parametrize("beside", ["discarded", "too large"])
async def test_what_ends_without_the_broker_is_no_sign_that_it_is_there(house, monkeypatch, beside):
    """What was discarded is not handed over, and what is too large is refused before the broker is asked."""
    (good,) = await house.promise(1)
    # What ends without the broker has ended before the good one fails.
    monkeypatch.setattr(redrive.random, "sample", lambda items, _: sorted(items, key=lambda one: good in one[0]))
    house.refused = {good}
    for number in range(4):
        name = f"{beside} {number}"
        event = an_event(a_message_accepted("m"), id=name).to_cloudevent()
        house.too_large |= {name}
        kind = "parked" if beside == "discarded" else "mailbox"
        await house.due.add("acme", name, house.clock.now(), event, kind=kind)
        house.clock.advance(timedelta(minutes=20))
        await tick(house)
    assert house.woken == []
    house.refused = set()
    house.clock.advance(timedelta(minutes=1))
    await tick(house)
    assert house.woken == [good]


async def test_tenants_whose_events_have_the_same_id_are_both_woken(house):
    await house.redrive.handle(TICK)
    for tenant in ("acme", "rival"):
        wake = an_event(a_message_accepted("m"), id="e", tenant=tenant).to_cloudevent()
        await house.due.add(tenant, f"{tenant}/e", house.clock.now(), wake, kind="mailbox")
    house.clock.advance(60)
    await house.redrive.handle(TICK)
    assert house.woken == ["e", "e"]


async def test_no_more_than_a_few_are_under_way_at_once(house, monkeypatch):
    monkeypatch.setattr(redrive, "_ROUND", 1000)
    await house.promise(200)
    house.count_deletes()
    await house.redrive.handle(TICK)
    assert house.waiting == 0
    assert 1 < house.most["appends"] <= AT_ONCE
    assert 1 < house.most["deletes"] <= AT_ONCE


@pytest.mark.parametrize("slow", [("slice", DUE), ("delete", DUE), ("get", CURSORS), ("put", CURSORS)])
async def test_a_walk_of_many_slow_calls_is_given_up_before_the_trigger_is_out_of_patience(house, monkeypatch, slow):
    """Its reads before it wakes and its mark after are calls as well."""
    ids = await house.promise(5)
    method, table = slow
    quick = getattr(house.tables, method)

    async def slowly(first, *arguments, **options):
        if table in (first, getattr(first, "table", None)):
            await asyncio.sleep(10)
        return await quick(first, *arguments, **options)

    with monkeypatch.context() as away:
        away.setattr("shared.ticks.BUDGET", timedelta(milliseconds=200))
        away.setattr("shared.ticks.UNDER_WAY", timedelta(milliseconds=300))
        away.setattr(house.tables, method, slowly)
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable):
                await house.redrive.handle(TICK)
    await house.redrive.handle(TICK)
    assert set(house.woken) == set(ids)
    assert house.waiting == 0


async def test_a_tick_that_is_cut_loses_nothing(house):
    """By its Trigger, or with its process: what was not woken is still there, and what was may come once more."""
    for turns in range(1, 60, 7):
        house = House()
        ids = await house.promise(95, parked=True)
        handling = asyncio.create_task(house.redrive.handle(TICK))
        for _ in range(turns):
            await asyncio.sleep(0)
        handling.cancel()
        await asyncio.gather(handling, return_exceptions=True)
        await house.redrive.handle(TICK)
        assert set(house.woken) == set(ids)
        assert house.waiting == 0
