"""
The outbox without a common transaction, with every call to the store or the broker failing in turn, and with a
crash at every step (A3, E1): the event is emitted at least once if the claims stand, and never if they do not.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest

from events import CATALOGUE, from_cloudevent
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Fault, MemoryTables
from shared.adapters.tables_outbox import SHARDS, OutboxSweeper, TablesOutbox
from shared.domain.errors import TooLarge, Unanswered, Unavailable
from shared.ports.tables import Put
from shared.repositories.outbox_schema import OUTBOX, OUTBOX_SWEPT
from shared.repositories.schema import PLATFORM
from shared.repositories.tenants import Tenants
from shared.testing.contracts.outbox import SCHEMA, an_acceptance, standing
from shared.testing.contracts.tables import CLAIMS, whole
from shared.ticks import AT_ONCE, BUDGET


class Crash(BaseException):
    """The process dies here; nothing that catches errors catches it."""


class World:
    """A store and a broker that outlive the senders and sweepers that use them."""

    def __init__(self):
        self.clock = SettableClock()
        self.clock.advance(timedelta(minutes=30))  # no hour begins soon: a day is looked back at its beginning
        self.tables = MemoryTables(self.clock)
        self.log = MemoryRecordLog()
        self.broker_is_up = True
        self.refused: set[str] = set()
        self.refusal: Exception = Unavailable("the broker does not take it")
        self.seconds = 0  # that it takes for an event
        self.asked, self.under_way, self.most, self.in_vain = 0, 0, 0, 0
        self.ids = CountedIds()
        self.outbox = TablesOutbox(self.tables, self, self.clock, self.ids)
        self.sweeper = OutboxSweeper(self.tables, self, self.clock, SCHEMA)

    async def has_swept(self):
        """As in a system that has been running: the week before needs no look."""
        minute = int(self.clock.now().timestamp()) // 60 - 2
        await self.tables.put(
            *(Put(OUTBOX_SWEPT, {"tenant": PLATFORM, "shard": shard, "minute": minute}) for shard in range(SHARDS))
        )
        for look_back in self.sweeper._look_backs:  # the sweeper has looked a day back as well
            look_back.first(minute, minute)
            look_back.reached(minute)
        return self

    async def emit(self, *events):
        await self.tables.checkpoint()
        if not self.broker_is_up:
            self.in_vain += 1
            for _ in range(self.in_vain * 7 % 40):  # it is given up after unequal times
                await asyncio.sleep(0)
            raise Unavailable("the broker is down")
        self.asked += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        self.clock.advance(self.seconds)
        if any(event.id in self.refused for event in events):
            raise self.refusal
        await self.log.emit(*events)
        await self.tables.checkpoint()

    def emitted(self):
        return [from_cloudevent(record.event, CATALOGUE) for record in self.log.records]

    async def entries(self):
        now = int(self.clock.now().timestamp()) // 60
        places = ((PLATFORM, now + minute, shard) for minute in range(-15_000, 15_000) for shard in range(SHARDS))
        return sum([len(await self.tables.slice(OUTBOX, place, limit=100)) for place in places])

    async def sweep(self, after=timedelta(minutes=5)):
        self.clock.advance(after)
        return await self.sweeper.sweep()

    def crash_at(self, n):
        """From now on die at the n-th step; False once there are fewer steps than that."""
        self.steps = 0

        async def checkpoint():
            self.steps += 1
            if self.steps == n:
                raise Crash

        self.tables.checkpoint = checkpoint

    def fail_at(self, n, fault):
        self.calls = 0

        def hook(method, table):
            self.calls += 1
            return fault if self.calls == n else None

        self.tables.fault = hook

    def heal(self):
        async def go_on():
            pass

        self.tables.checkpoint = go_on
        self.tables.fault = lambda method, table: None
        self.broker_is_up = True


@pytest.fixture
async def backlog(monkeypatch):
    """What an outage of the broker leaves behind, over some minutes; its events' ids."""
    monkeypatch.setattr("shared.adapters.tables_outbox._PAGE", 10)
    world = await World().has_swept()
    world.broker_is_up = False
    acceptances = [an_acceptance(f"m{n}", number=n) for n in range(1, 301)]
    for acceptance in acceptances:
        await world.outbox.commit(acceptance)
        world.clock.advance(1)
    world.broker_is_up = True
    return world, [acceptance.events[0].id for acceptance in acceptances]


async def check(world, acceptance):
    """The promise holds: all of it stands and its event was emitted, or none of it and it was not."""
    stands = await standing(world.tables, acceptance)
    assert stands in ([True] * 4, [False] * 4)
    assert {event.id for event in world.emitted()} == ({acceptance.events[0].id} if stands[0] else set())
    assert all(event == acceptance.events[0] for event in world.emitted())
    return stands[0]


@pytest.mark.parametrize("fault", Fault)
async def test_whichever_call_fails_the_event_is_emitted_if_and_only_if_the_claims_stand(fault):
    n, failed = 0, True
    while failed:
        n += 1
        world, acceptance = await World().has_swept(), an_acceptance()
        world.fail_at(n, fault)
        try:
            answer = await world.outbox.commit(acceptance)
        except Unanswered:
            answer = "unanswered"
        except Unavailable:
            answer = "unavailable"
        failed = world.calls >= n
        world.heal()
        await world.sweep()
        stands = await check(world, acceptance)
        if answer == "unavailable":
            assert not stands
        if answer == []:
            assert stands
    assert n > 5


@pytest.mark.parametrize("fault", [Fault.SWALLOWED, Fault.LOST_ANSWER])
async def test_claims_without_an_answer_are_looked_for_and_written_again_if_they_are_not_there(fault):
    world, acceptance = await World().has_swept(), an_acceptance()
    world.fail_at(2, fault)  # the entry is the first
    assert await world.outbox.commit(acceptance) == []
    assert await check(world, acceptance)
    assert await world.entries() == 0


async def test_claims_that_land_between_the_look_and_the_second_try_are_the_same_claims():
    world, acceptance = await World().has_swept(), an_acceptance()
    write_claims, tries = world.tables.put_if_absent, []

    async def lose_the_first(table, *claims):
        tries.append(claims)
        if len(tries) == 1:
            raise Unanswered("it is on its way")
        await write_claims(table, *tries[0])  # it lands now
        return await write_claims(table, *claims)

    world.tables.put_if_absent = lose_the_first
    assert await world.outbox.commit(acceptance) == []
    assert await check(world, acceptance)
    assert len(tries) == 2


async def test_whoever_took_the_place_of_lost_claims_refuses_them():
    world, winner, loser = await World().has_swept(), an_acceptance("m1"), an_acceptance("m2")
    write_claims, tries = world.tables.put_if_absent, []

    async def lose_the_first(table, *claims):
        tries.append(claims)
        if len(tries) == 1:
            raise Unanswered("it will never arrive")
        await write_claims(table, *winner.claims)
        return await write_claims(table, *claims)

    world.tables.put_if_absent = lose_the_first
    assert await world.outbox.commit(loser) == [whole(CLAIMS, winner.claims[0])]
    assert await world.entries() == 0
    assert world.emitted() == []


async def test_whenever_the_sender_dies_the_sweeper_finishes_what_it_promised():
    n, died, outcomes = 0, True, []
    while died:
        n += 1
        world, acceptance = await World().has_swept(), an_acceptance()
        world.crash_at(n)
        try:
            await world.outbox.commit(acceptance)
            died = False
        except Crash:
            pass
        world.heal()
        await world.sweep()
        outcomes.append(await check(world, acceptance))
    assert outcomes == sorted(outcomes), "before the claims nothing stands, after them everything"
    assert set(outcomes) == {True, False}


async def test_whenever_the_sweeper_dies_another_sweep_finishes():
    n, died = 0, True
    while died:
        n += 1
        world, acceptance = await World().has_swept(), an_acceptance()
        world.broker_is_up = False
        assert await world.outbox.commit(acceptance) == []
        world.heal()
        world.clock.advance(timedelta(minutes=5))
        world.crash_at(n)
        try:
            await world.sweeper.sweep()
            died = False
        except Crash:
            pass
        world.heal()
        await world.sweep()
        assert await check(world, acceptance)
        assert await world.sweep() == 0


async def test_sending_lives_through_an_outage_of_the_broker():
    world, acceptances = await World().has_swept(), [an_acceptance(f"m{n}", number=n) for n in range(1, 31)]
    world.broker_is_up = False
    for acceptance in acceptances:
        assert await world.outbox.commit(acceptance) == []
        world.clock.advance(10)
    world.clock.advance(600)
    with pytest.raises(Unavailable):
        await world.sweeper.sweep()
    assert world.emitted() == []
    world.broker_is_up = True
    assert await world.sweep() == 30
    assert {event.id for event in world.emitted()} == {one.events[0].id for one in acceptances}
    assert await world.sweep() == 0


async def test_claims_that_land_after_the_sweeper_has_looked_for_them_are_handed_over_all_the_same():
    world, acceptance = await World().has_swept(), an_acceptance()
    paused, go_on = asyncio.Event(), asyncio.Event()
    write_claims = world.tables.put_if_absent

    async def write_claims_late(*arguments):
        paused.set()
        await go_on.wait()
        await write_claims(*arguments)
        raise Crash

    world.tables.put_if_absent = write_claims_late
    sender = asyncio.ensure_future(world.outbox.commit(acceptance))
    await paused.wait()
    for _ in range(12):
        await world.sweep()  # for an hour there are no claims
    assert world.emitted() == []
    go_on.set()
    with pytest.raises(Crash):
        await sender
    for _ in range(30):
        await world.sweep()
    assert await check(world, acceptance)


async def test_an_abandoned_entry_is_looked_at_a_few_times_and_then_gone():
    world = await World().has_swept()
    world.crash_at(3)  # the entry stands, the claims were not tried
    with pytest.raises(Crash):
        await world.outbox.commit(an_acceptance())
    world.heal()
    assert await world.entries() == 1
    looks = sum([await world.sweep(timedelta(hours=4)) for _ in range(6 * 8)])
    assert 5 <= looks <= 15
    assert await world.entries() == 0
    assert world.emitted() == []


async def test_a_refusal_leaves_nothing_behind():
    world = await World().has_swept()
    await world.outbox.commit(an_acceptance("m1"))
    assert await world.outbox.commit(an_acceptance("m2")) != []
    assert await world.entries() == 0


async def test_the_entry_of_a_refused_sender_that_died_is_dropped():
    world, winner, loser = await World().has_swept(), an_acceptance("m1"), an_acceptance("m2")
    await world.outbox.commit(winner)
    world.crash_at(5)  # the entry and the refused claims were written, and not yet tidied up
    with pytest.raises(Crash):
        await world.outbox.commit(loser)
    world.heal()
    assert await world.entries() == 1
    assert await world.sweep() == 1
    assert await world.entries() == 0
    assert [event.id for event in world.emitted()] == [winner.events[0].id]


async def test_an_entry_of_a_newer_release_waits_for_a_sweeper_that_knows_its_tables():
    world, acceptance = await World().has_swept(), an_acceptance()
    world.broker_is_up = False
    await world.outbox.commit(acceptance)
    world.broker_is_up = True
    older_release = OutboxSweeper(world.tables, world, world.clock, ())
    world.clock.advance(300)
    assert await older_release.sweep() == 1
    assert world.emitted() == []
    await world.sweep(timedelta(minutes=20))
    assert await check(world, acceptance)


async def test_a_young_entry_is_left_to_its_sender():
    world = await World().has_swept()
    world.broker_is_up = False
    await world.outbox.commit(an_acceptance())
    assert await world.sweep(timedelta(seconds=20)) == 0


async def test_a_sweep_settles_all_that_there_is_time_for_and_the_next_one_the_rest(backlog):
    world, ids = backlog
    world.seconds = 1
    looked_at = []
    while not looked_at or looked_at[-1]:
        looked_at.append(await world.sweep(timedelta(minutes=1)))
    assert looked_at[0] >= BUDGET.total_seconds()
    assert len(looked_at) > 3
    assert Counter(event.id for event in world.emitted()) == Counter(ids), "each once, however many sweeps it took"
    assert await world.entries() == 0


async def test_one_sweep_takes_more_than_a_page(backlog):
    world, ids = backlog
    assert await world.sweep() == len(ids)
    assert await world.entries() == 0
    assert 1 < world.most <= AT_ONCE


async def test_an_entry_that_fails_stops_no_other_and_is_swept_when_it_can_be(backlog):
    world, ids = backlog
    world.refused = {ids[3], ids[70]}
    with pytest.raises(Unavailable):
        await world.sweep()
    assert {event.id for event in world.emitted()} == set(ids) - world.refused
    assert await world.entries() == 2
    world.refused = set()
    assert await world.sweep(timedelta(hours=2)) == 2, "far behind what was swept since"
    assert Counter(event.id for event in world.emitted()) == Counter(ids)


async def test_an_event_that_no_broker_takes_leaves_a_promise_that_was_made(caplog):
    """The claims stand: to tell the sender that it was refused would be wrong."""
    world, acceptance = await World().has_swept(), an_acceptance()
    world.refused, world.refusal = {acceptance.events[0].id}, TooLarge("above 1 MiB")
    assert await world.outbox.commit(acceptance) == []
    await world.sweep()
    assert "cannot be settled" in caplog.text
    assert await world.entries() == 1


async def try_to_sweep(world, after=timedelta(minutes=5)):
    with suppress(Unavailable):
        await world.sweep(after)


@pytest.mark.parametrize("alone", [False, True])
async def test_an_entry_that_always_fails_does_not_hold_the_mark(monkeypatch, alone):
    """A sweep goes two days on from its mark, here 300 minutes; what lies beyond would be gone after a week."""
    monkeypatch.setattr("shared.adapters.tables_outbox._MINUTES_AT_ONCE", 300)
    monkeypatch.setattr("shared.adapters.tables_outbox.DAY", 40)
    world = await World().has_swept()

    async def leave(number):
        acceptance = an_acceptance(f"m{number}", number=number)
        world.broker_is_up = False
        await world.outbox.commit(acceptance)
        world.broker_is_up = True
        return acceptance.events[0].id

    refused = await leave(1)
    world.refused, good = {refused}, []
    for number in range(2, 30):
        good += [] if alone and number < 29 else [await leave(number)]
        await try_to_sweep(world, timedelta(minutes=20))
    await try_to_sweep(world)
    assert {event.id for event in world.emitted()} == set(good)
    assert await world.entries() == 1
    world.refused = set()
    await world.sweep(timedelta(minutes=65))
    assert {event.id for event in world.emitted()} == {refused, *good}, "within the hour, however old it is"


async def abandon(world, number):
    """The sender dies before its claims: the sweeper puts the entry off, and asks no broker."""
    world.crash_at(3)
    with pytest.raises(Crash):
        await world.outbox.commit(an_acceptance(f"m{number}", number=number))
    world.heal()


@pytest.mark.parametrize("abandoned", [False, True])
@pytest.mark.parametrize("count", [1, 3, 8, 60])
async def test_a_broker_that_was_away_for_more_than_an_hour_is_given_everything_by_a_sweep_soon_after(count, abandoned):
    """Nothing was handed over meanwhile, so nothing is put off; a shard without entries, or of failures, is no sign."""
    world, acceptances = await World().has_swept(), [an_acceptance(f"m{n}", number=n) for n in range(1, count + 1)]
    world.broker_is_up = False
    for acceptance in acceptances:
        await world.outbox.commit(acceptance)
    for number in range(1000, 1015):
        if abandoned:
            await abandon(world, number)
        world.broker_is_up = False
        await try_to_sweep(world)
    assert world.emitted() == []
    world.broker_is_up = True
    await world.sweep(timedelta(minutes=3))
    assert {event.id for event in world.emitted()} == {one.events[0].id for one in acceptances}


async def test_entries_that_can_never_be_settled_are_put_off_and_hold_up_nothing(backlog, caplog):
    """As many as would look like a broker that is away, at the head of the rest."""
    world, ids = backlog
    world.refused, world.refusal = set(ids[:120]), ValueError("no broker will ever take it")
    await world.sweep()
    assert {event.id for event in world.emitted()} == set(ids) - world.refused
    assert await world.entries() == 120, "a later release may know how"
    assert "cannot be settled" in caplog.text
    assert await world.sweep(timedelta(seconds=1)) == 0


async def test_a_broker_that_is_down_is_not_asked_for_every_entry(backlog):
    world, ids = backlog
    world.refused, world.asked = set(ids), 0
    with pytest.raises(Unavailable):
        await world.sweep()
    assert world.asked < AT_ONCE + SHARDS * AT_ONCE
    assert await world.entries() == len(ids)


async def test_entries_of_clocks_that_are_minutes_behind_are_found():
    world = await World().has_swept()
    await world.sweep()
    late = SettableClock(world.clock.now() - timedelta(minutes=8))
    world.broker_is_up = False
    await TablesOutbox(world.tables, world, late, world.ids).commit(an_acceptance())
    world.broker_is_up = True
    assert await world.sweep() == 1
    assert len(world.emitted()) == 1


async def test_a_sweeper_whose_clock_was_ahead_hides_nothing_from_the_others():
    world = await World().has_swept()
    ahead = SettableClock()
    ahead.advance(timedelta(minutes=40))
    await OutboxSweeper(world.tables, world, ahead, SCHEMA).sweep()
    world.broker_is_up = False
    await world.outbox.commit(an_acceptance())
    world.broker_is_up = True
    assert await world.sweep() == 1
    assert len(world.emitted()) == 1


async def swept(world):
    return (await world.tables.get(OUTBOX_SWEPT, (PLATFORM, 0)))["minute"]


@pytest.mark.parametrize("mended", [False, True])
async def test_what_was_left_while_the_only_sweeper_was_hours_ahead_is_found_when_its_clock_is_mended(mended):
    """Its mark was ahead as well, so that nobody went far enough back, and after a week the entry was gone."""
    world = await World().has_swept()
    wrong = SettableClock(world.clock.now() + timedelta(hours=3))
    ahead = OutboxSweeper(world.tables, world, wrong, SCHEMA)
    await ahead.sweep()
    world.broker_is_up = False
    await world.outbox.commit(an_acceptance())
    world.broker_is_up = True
    for clock in (wrong, world.clock):
        clock.advance(timedelta(minutes=20))
    await ahead.sweep()
    assert world.emitted() == []
    if mended:
        ahead._clock = world.clock
        await ahead.sweep()
    else:
        await world.sweep(timedelta(hours=3))  # somebody else takes over
    assert len(world.emitted()) == 1


async def test_a_look_back_takes_no_mark_back_and_is_done_once_an_hour(monkeypatch):
    world = await World().has_swept()
    began = await swept(world)
    marks, put, read = [], world.tables.put, world.tables.slice
    minutes = []

    async def put_and_note(*puts):
        marks.extend(one.row["minute"] for one in puts if one.table is OUTBOX_SWEPT)
        await put(*puts)

    async def read_and_note(table, partition, **options):
        minutes.append(partition[1])
        return await read(table, partition, **options)

    monkeypatch.setattr(world.tables, "put", put_and_note)
    monkeypatch.setattr(world.tables, "slice", read_and_note)
    far = []
    for _ in range(7):
        minutes.clear()
        await world.sweep(timedelta(minutes=10))
        far.append(max(minutes) - min(minutes) > 1440)
    assert far == [False, False, False, True, False, False, False]
    assert marks == sorted(marks)
    assert marks[0] >= began


async def test_a_sweep_looks_at_no_more_minutes_when_its_time_is_up():
    world = World()
    asked = 0

    def slowly(method, table):
        nonlocal asked
        asked += table is OUTBOX
        world.clock.advance(timedelta(milliseconds=100))

    world.tables.fault = slowly
    await world.sweeper.sweep()
    assert asked < 2 * SHARDS * 32


async def test_the_sweeper_goes_on_from_where_it_stopped():
    world = await World().has_swept()
    await world.sweep()
    minute = (await world.tables.get(OUTBOX_SWEPT, (PLATFORM, 0)))["minute"]
    reads = 0

    def count(method, table):
        nonlocal reads
        reads += table is OUTBOX
        return None

    world.tables.fault = count
    await world.sweep(timedelta(minutes=1))
    assert (await world.tables.get(OUTBOX_SWEPT, (PLATFORM, 0)))["minute"] == minute + 1
    assert reads < 100


async def test_a_sweep_that_is_cut_off_while_it_catches_up_goes_on_from_there():
    world = World()
    await Tenants(world.tables, world.clock).create("first")
    world.clock.advance(timedelta(days=6))
    for _ in range(2):
        read = 0

        def cut_off(method, table):
            nonlocal read
            read += table is OUTBOX
            return Fault.UNREACHED if read > SHARDS * 300 else None

        before = await world.tables.get(OUTBOX_SWEPT, (PLATFORM, 0))
        world.tables.fault = cut_off
        with pytest.raises(Unavailable):
            await world.sweeper.sweep()
        world.heal()
        after = await world.tables.get(OUTBOX_SWEPT, (PLATFORM, 0))
        assert after["minute"] > (before["minute"] + 200 if before else 0)


async def test_the_first_sweep_of_all_catches_up_with_the_week_before():
    world = World()
    await Tenants(world.tables, world.clock).create("first")
    world.broker_is_up = False
    await world.outbox.commit(an_acceptance())
    world.broker_is_up = True
    world.clock.advance(timedelta(days=6))
    for _ in range(12):
        await world.sweeper.sweep()
    assert len(world.emitted()) == 1


def _reads_of(world):
    """How many buckets of the outbox were read since."""
    read = [0]

    def counted(method, table):
        read[0] += table is OUTBOX

    world.tables.fault = counted
    return read


@pytest.mark.parametrize("ahead", [timedelta(), timedelta(hours=1)], ids=["in time", "by a clock that was ahead"])
async def test_the_first_sweep_of_a_new_installation_looks_no_further_back_than_its_first_tenant(ahead):
    world = World()
    clock = SettableClock()
    clock.advance(world.clock.now() - clock.now() + ahead)
    await Tenants(world.tables, clock).create("first")
    world.broker_is_up = False
    await world.outbox.commit(an_acceptance())
    world.broker_is_up = True
    world.clock.advance(timedelta(minutes=3))
    await Tenants(world.tables, world.clock).create("second")
    read = _reads_of(world)
    await world.sweeper.sweep()
    assert len(world.emitted()) == 1
    assert read[0] < SHARDS * 30, "a week has 10,080 minutes"
    assert all([await world.tables.get(OUTBOX_SWEPT, (PLATFORM, shard)) for shard in range(SHARDS)])


async def test_sweeps_before_there_is_a_tenant_look_for_nothing_and_miss_nothing():
    """Timers tick as soon as the functions are there, and the first tenant is made after that."""
    world = World()
    read = _reads_of(world)
    for _ in range(3):
        await world.sweep(after=timedelta(minutes=1))
    assert read[0] < SHARDS * 30 * 3
    await Tenants(world.tables, world.clock).create("first")
    world.broker_is_up = False
    await world.outbox.commit(an_acceptance())
    world.broker_is_up = True
    await world.sweep()
    assert len(world.emitted()) == 1
    assert read[0] < SHARDS * 30 * 4


async def test_a_first_sweep_at_the_beginning_of_an_hour_looks_no_day_back():
    world = World()
    world.clock.advance(timedelta(minutes=31, seconds=30))
    await Tenants(world.tables, world.clock).create("first")
    read = _reads_of(world)
    for _ in range(4):
        await world.sweep(after=timedelta(seconds=20))
    assert 0 < read[0] < SHARDS * 30 * 4


async def test_where_there_are_too_many_tenants_to_look_through_the_first_sweep_begins_a_week_back(monkeypatch):
    monkeypatch.setattr("shared.adapters.tables_outbox._TENANTS", 1)
    world = World()
    world.broker_is_up = False
    await world.outbox.commit(an_acceptance())
    world.broker_is_up = True
    world.clock.advance(timedelta(days=6))
    await Tenants(world.tables, world.clock).create("restored")
    for _ in range(12):
        await world.sweeper.sweep()
    assert len(world.emitted()) == 1
