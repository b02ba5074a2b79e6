"""A tenant finds its own events in a log that holds those of others too (E12)."""

import json
from dataclasses import replace

import pytest

from events import CloudEvent
from functions.events.func import new
from shared.domain.errors import Invalid
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


@pytest.mark.parametrize("asked", ["initiate", "complete"])
async def test_a_file_id_that_is_no_uuid_is_refused_at_the_door(asked):
    rest = {"conversation_id": "c", "filename": "a", "content_type": "a/b", "size": 1} if asked == "initiate" else {}
    data = {"from": "ana", "file_id": "x?expires=9999999999", **rest}
    attributes = {"specversion": "1.0", "id": "e", "source": "/crm", "type": f"chat4all.file.{asked}.requested.v1"}
    async with open_memory({}) as ports:
        with pytest.raises(Invalid) as refused:
            await new(ports).take("acme", CloudEvent(attributes, json.dumps(data).encode()), None, "")
        assert refused.value.errors[0]["pointer"] == "/data/file_id"
