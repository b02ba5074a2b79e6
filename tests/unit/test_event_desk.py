"""A tenant finds its own events in a log that holds those of others too (E12)."""

from dataclasses import replace

from functions.events.func import new
from shared.testing.build import an_event
from shared.testing.memory_ports import open_memory


async def test_a_quiet_tenant_finds_its_events_behind_those_of_a_busy_one():
    async with open_memory({}) as ports:
        quiet = replace(an_event(), id="quiet", tenant="quiet")
        busy = [replace(an_event(), id=f"busy-{n}", tenant="busy") for n in range(1300)]
        await ports.sink.emit(quiet, *busy)
        looked = await new(ports).read("quiet", after=None, limit=50, wait=0)
        assert [one.event.attributes["id"] for one in looked.events] == ["quiet"]
        assert looked.position == (await ports.log.latest(1))[0].offset


async def test_following_on_skips_others_and_still_moves():
    async with open_memory({}) as ports:
        await ports.sink.emit(replace(an_event(), id="busy", tenant="busy"))
        looked = await new(ports).read("quiet", after=0, limit=50, wait=0)
        assert list(looked.events) == []
        assert looked.position == (await ports.log.latest(1))[0].offset
