"""The due list forgets no promise, however long nobody looked (C8; design.md 5)."""

from datetime import timedelta

import pytest

from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.tables import MemoryTables
from shared.ports.tables import Put
from shared.repositories.due import SHARDS, DueList
from shared.repositories.schema import DUE, PLATFORM
from shared.testing.build import a_message_accepted, an_event
from shared.ticks import BUDGET, Tick


class CountingTables(MemoryTables):
    reads = 0

    async def slice(self, *args, **options):
        self.reads += 1
        return await super().slice(*args, **options)


@pytest.fixture
def clock():
    return SettableClock()


@pytest.fixture
def due(clock):
    return DueList(MemoryTables(clock), clock)


def wake(name):
    return an_event(a_message_accepted(name)).to_cloudevent()


async def woken(due, limit=100):
    found = await due.due(limit, Tick(due._clock))
    await due.done(*found.entries)
    await due.passed(found)
    return [entry.due_id for entry in found.entries]


async def all_woken(due, limit=100):
    found = []
    while some := await woken(due, limit):
        found += some
    return found


async def entries(tables, clock):
    minute = int(clock.now().timestamp() // 60)
    return [row for shard in range(SHARDS) for row in await tables.slice(DUE, (PLATFORM, minute, shard), limit=9)]


@pytest.mark.parametrize("looked_before", [False, True])
@pytest.mark.parametrize("stopped_for", [timedelta(minutes=10), timedelta(hours=20), timedelta(hours=20, minutes=17)])
async def test_what_became_due_while_nothing_ran_is_woken(clock, due, looked_before, stopped_for):
    """Found by the mailbox property: the walk never remembered where it was, and began two minutes ago each time."""
    if looked_before:
        assert await woken(due) == []
    await due.add("acme", "a", clock.now() + timedelta(seconds=30), wake("a"), kind="mailbox")
    clock.advance(stopped_for)
    assert await woken(due) == ["a"]
    assert await woken(due) == []


async def test_a_stop_of_days_is_caught_up_in_several_rounds(clock, due):
    assert await woken(due) == []
    for hour in range(1, 72):
        await due.add("acme", f"{hour}", clock.now() + timedelta(hours=hour), wake("a"), kind="mailbox")
    clock.advance(timedelta(days=3))
    found = []
    for _ in range(5):
        found += await woken(due)
    assert found == [f"{hour}" for hour in range(1, 72)]


async def test_more_at_once_than_a_round_takes_are_woken_by_the_next(clock, due):
    assert await woken(due) == []
    for number in range(50):
        await due.add("acme", f"{number}", clock.now() + timedelta(seconds=1), wake("a"), kind="mailbox")
    clock.advance(timedelta(minutes=30))
    assert sorted(await all_woken(due, limit=7), key=int) == [f"{number}" for number in range(50)]


async def test_nothing_is_woken_before_its_time_and_a_past_time_is_now(clock, due):
    await due.add("acme", "later", clock.now() + timedelta(seconds=1), wake("a"), kind="mailbox")
    await due.add("acme", "past", clock.now() - timedelta(hours=1), wake("a"), kind="mailbox")
    assert await woken(due) == ["past"]
    clock.advance(1)
    assert await woken(due) == ["later"]


async def test_a_writer_whose_clock_is_a_minute_behind_is_heard(clock):
    tables = MemoryTables(clock)
    due = DueList(tables, clock)
    clock.advance(timedelta(hours=1))
    assert await woken(due) == []
    late = SettableClock(clock.now() - timedelta(seconds=90))
    await DueList(tables, late).add("acme", "a", late.now(), wake("a"), kind="mailbox")
    assert await woken(due) == ["a"]


async def test_a_promise_that_was_kept_wakes_nobody(clock, due):
    at = await due.add("acme", "a", clock.now() + timedelta(seconds=30), wake("a"), kind="mailbox")
    await due.remove("a", at)
    clock.advance(timedelta(minutes=1))
    assert await woken(due) == []


async def test_an_entry_that_cannot_be_read_keeps_nobody_from_waking(clock, caplog):
    tables = MemoryTables(clock)
    due = DueList(tables, clock)
    for name in ("a", "b", "c"):
        await due.add("acme", name, clock.now(), wake(name), kind="mailbox")
    await tables.put(*[Put(DUE, {**row, "wake": b"{"}) for row in await entries(tables, clock) if row["due_id"] == "b"])
    assert sorted(await woken(due)) == ["a", "c"]
    assert "cannot be read" in caplog.text


async def test_more_that_cannot_be_read_than_a_round_takes_keep_nobody_from_waking_and_none_is_thrown_away(clock):
    tables = MemoryTables(clock)
    due = DueList(tables, clock)
    for number in range(9):
        await due.add("acme", f"{number}", clock.now(), wake("a"), kind="mailbox")
    broken = await entries(tables, clock)
    await tables.put(*[Put(DUE, {**row, "wake": b"{"}) for row in broken])
    clock.advance(1)
    await due.add("acme", "good", clock.now(), wake("good"), kind="mailbox")
    found = []
    for _ in range(9):
        found += await woken(due, limit=1)
    assert found == ["good"]
    assert len(tables.rows(DUE)) == len(broken)
    clock.advance(timedelta(hours=2))
    await tables.put(*[Put(DUE, {**row, "wake": broken[0]["wake"]}) for row in tables.rows(DUE)])
    assert len(await all_woken(due)) == len(broken), "somebody may have mended them"


async def test_a_walker_whose_clock_was_ten_minutes_ahead_makes_nobody_miss_the_time(clock):
    tables = MemoryTables(clock)
    ahead = SettableClock(clock.now() + timedelta(minutes=10))
    assert await woken(DueList(tables, ahead)) == []
    due = DueList(tables, clock)
    await due.add("acme", "a", clock.now() + timedelta(seconds=5), wake("a"), kind="mailbox")
    clock.advance(6)
    assert await woken(due) == ["a"]


async def test_what_was_promised_while_the_only_walker_was_hours_ahead_is_woken_when_its_clock_is_mended(clock):
    """Its cursor was ahead for as long, and stayed: what a writer left behind it was not looked at for hours."""
    tables = MemoryTables(clock)
    ahead = DueList(tables, SettableClock(clock.now() + timedelta(hours=3)))
    assert await woken(ahead) == []
    due = DueList(tables, clock)
    await due.add("acme", "a", clock.now() + timedelta(seconds=5), wake("a"), kind="mailbox")
    assert await woken(due) == [], "too soon; and the cursor is back in the present"
    clock.advance(timedelta(hours=5))
    assert await woken(due) == ["a"]


async def test_who_takes_over_from_a_walker_that_was_hours_ahead_looks_a_day_back(clock):
    tables = MemoryTables(clock)
    wrong = SettableClock(clock.now() + timedelta(hours=3))
    ahead = DueList(tables, wrong)
    assert await woken(ahead) == []
    await DueList(tables, clock).add("acme", "a", clock.now(), wake("a"), kind="mailbox")
    wrong.advance(60)
    assert await woken(ahead) == []
    clock.advance(timedelta(hours=4))
    assert await woken(DueList(tables, clock)) == ["a"]


async def test_a_round_looks_no_further_when_its_time_is_up_and_the_next_goes_on_there(clock):
    tables = CountingTables(clock, fault=lambda method, table: clock.advance(0.1))
    due = DueList(tables, clock)
    tick = Tick(clock)
    first = await due.due(100, tick)
    assert tables.reads <= 2 * 32 * SHARDS
    assert not tick.goes_on
    await due.passed(first)
    assert (await due.due(100, Tick(clock))).next_minute > first.next_minute


async def test_a_store_that_is_slow_with_buckets_that_hold_something_is_not_asked_for_all_of_them(clock, monkeypatch):
    """The minutes that are looked at together are read one after another where something is due."""
    tables = MemoryTables(clock)
    due = DueList(tables, clock)
    assert await woken(due) == []
    names = [f"{number}" for number in range(60)]
    for name in names:
        await due.add("acme", name, clock.now(), wake(name), kind="mailbox")
        clock.advance(15)
    read = tables.slice

    async def slowly(table, partition, **options):
        clock.advance(5.5 if options["limit"] > 1 else 0)
        return await read(table, partition, **options)

    monkeypatch.setattr(tables, "slice", slowly)
    began, found = clock.now(), await woken(due)
    assert clock.now() - began < BUDGET + timedelta(seconds=5.5)
    assert 0 < len(found) < len(names)
    while some := await woken(due):
        found += some
    assert sorted(found) == sorted(names), "each once"


async def test_it_looks_far_back_once_a_minute_only(clock):
    """Each bucket is a read, and redrive comes every five seconds."""
    tables = CountingTables(clock)
    due = DueList(tables, clock)
    await woken(due)
    before = tables.reads
    clock.advance(5)
    await woken(due)
    assert tables.reads - before <= 4 * SHARDS
