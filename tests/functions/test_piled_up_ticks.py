"""Ticks that piled up while nothing ran do their work once (C8; found by the crash campaign and by fault 3a)."""

import asyncio
from datetime import timedelta

from events import Event, TimerTicked
from functions.reap.func import new as new_reap
from functions.redrive.func import new
from functions.sweep.func import Sweep
from shared.adapters.memory.tables import MemoryTables
from shared.adapters.tables_outbox import OutboxSweeper
from shared.repositories.due import DueList
from shared.repositories.identity_schema import TENANTS
from shared.repositories.outbox_schema import OUTBOX_SWEPT
from shared.testing.build import NOON, a_message_accepted, an_event
from shared.testing.memory_ports import open_memory

TICK = Event(id="t", source="/timers", tenant="-", time=NOON, data=TimerTicked(name="redrive"))


async def _others_go_on():
    await asyncio.sleep(0)


async def test_many_ticks_at_once_hand_each_wake_over_once():
    async with open_memory({}) as ports:
        due = DueList(ports.tables, ports.clock)
        wake = an_event(a_message_accepted()).to_cloudevent()
        for milliseconds in range(5):
            at = ports.clock.now() - timedelta(minutes=1) + timedelta(milliseconds=milliseconds)
            await due.add("acme", wake.attributes["id"], at, wake, kind="mailbox")
        await asyncio.sleep(0.01)
        redrive = new(ports)
        await asyncio.gather(*(redrive.handle(TICK) for _ in range(20)))
        logged = await ports.log.latest(100)
        assert [one.event.attributes["id"] for one in logged] == [wake.attributes["id"]]


class Asked:
    """How often a table was asked, as the hook of MemoryTables."""

    def __init__(self, table):
        self.table, self.times = table, 0

    def __call__(self, method, table):
        self.times += table is self.table

    async def by(self, *handled):
        """By what is handled now, all of it at the same time."""
        self.times = 0
        await asyncio.gather(*handled)
        return self.times


async def test_many_ticks_at_once_sweep_once_and_a_later_one_sweeps_again():
    async with open_memory({}) as ports:
        asked = Asked(OUTBOX_SWEPT)
        tables = MemoryTables(ports.clock, fault=asked, checkpoint=_others_go_on)
        sweep = Sweep(OutboxSweeper(tables, ports.sink, ports.clock, ()))
        once = await asked.by(sweep.handle(TICK))
        together = await asked.by(*(sweep.handle(TICK) for _ in range(20)))
        assert 0 < together <= once
        assert await asked.by(sweep.handle(TICK)) > 0


async def test_many_ticks_at_once_reap_once():
    async with open_memory({}) as ports:
        asked = Asked(TENANTS)
        ports.tables.fault, ports.tables.checkpoint = asked, _others_go_on
        reap = new_reap(ports)
        once = await asked.by(reap.handle(TICK))
        assert await asked.by(*(reap.handle(TICK) for _ in range(20))) == once > 0
