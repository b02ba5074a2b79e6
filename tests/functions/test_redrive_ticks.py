"""Ticks that piled up while nothing ran wake what is due once (C8; found by the crash campaign)."""

import asyncio
from datetime import timedelta

from events import Event, TimerTicked
from functions.redrive.func import new
from shared.repositories.due import DueList
from shared.testing.build import NOON, a_message_accepted, an_event
from shared.testing.memory_ports import open_memory

TICK = Event(id="t", source="/timers", tenant="-", time=NOON, data=TimerTicked(name="redrive"))


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
