"""What a tick does: many things, some at once, within its time, and none for the failure of another (design.md 12)."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.memory.clock import SettableClock
from shared.domain.errors import Unavailable
from shared.ticks import AT_ONCE, BUDGET, LONG, LookBack, OneAtATime, Tick


class Work:
    """Each item is how long it takes, in seconds; one that is negative fails then."""

    def __init__(self):
        self.clock = SettableClock()
        self.begun, self.under_way, self.most = [], 0, 0

    async def do(self, item):
        self.begun.append(item)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.clock.advance(abs(item))
        self.under_way -= 1
        if item < 0:
            raise Unavailable("it fails")
        return item


async def test_a_few_are_done_at_once_in_their_order():
    work = Work()
    items = [n / 10_000 for n in range(500)]
    assert sorted(await Tick(work.clock).each(items, work.do)) == items
    assert work.begun == items
    assert work.most == AT_ONCE


async def test_one_that_fails_stops_no_other_and_is_told_at_the_end():
    work = Work()
    tick = Tick(work.clock)
    assert await tick.each([0, -0.001, 0.002], work.do) == [0, 0.002]
    assert tick.goes_on
    with pytest.raises(Unavailable):
        tick.end()


async def test_when_all_fail_it_ends():
    work = Work()
    tick = Tick(work.clock)
    assert await tick.each([-0.001] * 1000, work.do) == []
    assert not tick.goes_on
    assert len(work.begun) < 2 * AT_ONCE


async def test_what_is_still_under_way_is_given_up_before_the_trigger_is_out_of_patience(monkeypatch):
    """However many calls it makes one after another: each may take as long as a store is waited for."""
    monkeypatch.setattr("shared.ticks.BUDGET", timedelta(milliseconds=20))
    monkeypatch.setattr("shared.ticks.UNDER_WAY", timedelta(milliseconds=30))
    tick = Tick(SettableClock())

    async def do(item):
        if item == "slow":
            await asyncio.sleep(10)
        return item

    async def do_several(items):
        return await tick.each(items, do)

    async with asyncio.timeout(1):
        done = await tick.each([["quick", "slow", "slow"], ["quick"]], do_several)
    assert ["quick"] in done
    with pytest.raises(Unavailable):
        tick.end()


async def test_what_fails_for_long_is_broken_itself_only_when_the_broker_took_something():
    work = Work()
    tick, now = Tick(work.clock), work.clock.now()
    await tick.each([0, -0.001], work.do)
    assert tick.again_at(now) == now, "what was done may have asked no broker"
    tick.handed_over()
    assert tick.again_at(now) == now + LONG


async def test_nothing_is_begun_when_its_time_is_up():
    work = Work()
    tick = Tick(work.clock)
    done = await tick.each([1] * 500, work.do)
    assert BUDGET.total_seconds() <= len(done) <= BUDGET.total_seconds() + AT_ONCE
    assert not tick.goes_on
    assert await tick.each([1], work.do) == []
    tick.end()


@given(st.lists(st.floats(-1, 1), max_size=300))
def test_whatever_fails_and_however_long_it_takes_what_was_begun_was_done_or_failed(items):
    async def run():
        work = Work()
        tick = Tick(work.clock)
        done = await tick.each(items, work.do)
        assert work.begun == items[: len(work.begun)]
        assert sorted(done) == sorted(item for item in work.begun if item >= 0)
        if tick.goes_on:
            assert work.begun == items
        if len(done) == len(items):
            tick.end()

    asyncio.run(run())


async def test_those_that_come_while_one_works_do_nothing():
    alone, worked = OneAtATime(), []

    async def work():
        worked.append("began")
        await asyncio.sleep(0)

    await asyncio.gather(*(alone(work) for _ in range(20)))
    assert worked == ["began"]
    await alone(work)
    assert worked == ["began", "began"]


async def test_one_that_failed_is_in_nobodys_way():
    alone, worked = OneAtATime(), []

    async def fail():
        raise Unavailable("away")

    async def work():
        worked.append("began")

    with pytest.raises(Unavailable):
        await alone(fail)
    await alone(work)
    assert worked == ["began"]


def test_a_look_back_goes_on_where_it_was_cut_off_and_is_not_repeated_within_its_time():
    look_back = LookBack(100, every=60)
    assert look_back.first(1020, 1020) == 920
    look_back.reached(950)
    assert look_back.first(1021, 1021) == 950
    look_back.reached(1021)
    assert look_back.first(1022, 1022) == 1022
    assert look_back.first(1079, 1079) == 1079
    assert look_back.first(1081, 1081) == 981, "it missed the minute, and makes up for it"


def test_a_process_that_was_just_started_has_missed_no_look_back():
    assert LookBack(100, every=60).first(1021, 1021) == 1021
    assert LookBack(100, every=60).first(1080, 1080) == 980


def test_a_clock_that_was_set_back_is_looked_behind_at_once():
    look_back = LookBack(100, every=60)
    look_back.first(1000, 1000)
    look_back.reached(950)
    assert look_back.first(700, 700) == 600
