"""What every RecordLog promises the trigger runner (shared.ports.event_log). Subclass it and give ``log``."""

import asyncio

import pytest

from events import CloudEvent
from shared.ports.event_log import RecordLog


def cloudevent(identifier: str, **extensions: str) -> CloudEvent:
    """Any event, of a type that nobody declared: a broker carries what it is given."""
    attributes = {
        "specversion": "1.0",
        "id": identifier,
        "source": "/tests",
        "type": "chat4all.tests.happened.v1",
        "datacontenttype": "application/json",
        "partitionkey": "c1",
        **extensions,
    }
    return CloudEvent(attributes, b'{"n": 1}')


class RecordLogContract:
    @pytest.fixture
    def log(self) -> RecordLog:
        raise NotImplementedError("a subclass gives the log under test, empty")

    async def test_a_new_log_is_empty_and_its_head_is_zero(self, log: RecordLog) -> None:
        assert await log.head() == 0
        assert list(await log.read(after=0, limit=10)) == []

    async def test_events_come_back_as_they_were_in_the_order_of_their_offsets(self, log: RecordLog) -> None:
        given = [cloudevent("1", tenant="acme"), cloudevent("2", subject="Ä 1%"), cloudevent("3")]
        await log.append(*given[:2])
        await log.append(given[2])
        records = await log.read(after=0, limit=10)
        assert [dict(record.event.attributes) for record in records] == [dict(event.attributes) for event in given]
        assert [record.event.data for record in records] == [event.data for event in given]
        offsets = [record.offset for record in records]
        assert offsets == sorted(set(offsets))
        assert await log.head() == offsets[-1]

    async def test_an_event_without_data_keeps_none(self, log: RecordLog) -> None:
        await log.append(CloudEvent(cloudevent("1").attributes, b""))
        assert [record.event.data for record in await log.read(after=0, limit=1)] == [b""]

    async def test_read_goes_on_after_an_offset_and_stops_at_its_limit(self, log: RecordLog) -> None:
        await log.append(*(cloudevent(str(n)) for n in range(7)))
        first = await log.read(after=0, limit=3)
        rest = await log.read(after=first[-1].offset, limit=100)
        assert [record.event.attributes["id"] for record in first] == ["0", "1", "2"]
        assert [record.event.attributes["id"] for record in rest] == ["3", "4", "5", "6"]

    async def test_old_events_are_read_as_well_as_new_ones(self, log: RecordLog) -> None:
        for start in range(0, 3000, 100):
            await log.append(*(cloudevent(str(n)) for n in range(start, start + 100)))
        seen: list[str] = []
        after = 0
        while records := await log.read(after=after, limit=500):
            seen += [record.event.attributes["id"] for record in records]
            after = records[-1].offset
        assert seen == [str(n) for n in range(3000)]

    async def test_read_waits_for_the_first_event(self, log: RecordLog) -> None:
        reading = asyncio.ensure_future(log.read(after=0, limit=10, wait=30))
        await asyncio.sleep(0)
        assert not reading.done()
        await log.append(cloudevent("1"))
        assert [record.event.attributes["id"] for record in await reading] == ["1"]

    async def test_read_gives_nothing_when_nothing_came_in_time(self, log: RecordLog) -> None:
        assert list(await log.read(after=0, limit=10, wait=0.01)) == []

    async def test_a_cancelled_read_leaves_the_log_usable(self, log: RecordLog) -> None:
        reading = asyncio.ensure_future(log.read(after=0, limit=10, wait=30))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await log.append(cloudevent("1"))
        assert len(await log.read(after=0, limit=10, wait=1)) == 1

    async def test_two_readers_wait_for_the_same_event(self, log: RecordLog) -> None:
        readings = [asyncio.ensure_future(log.read(after=0, limit=10, wait=30)) for _ in range(2)]
        await asyncio.sleep(0)
        await log.append(cloudevent("1"))
        assert [len(await reading) for reading in readings] == [1, 1]

    async def test_a_group_that_was_never_seen_has_no_offset(self, log: RecordLog) -> None:
        assert await log.committed("knative-trigger-push") is None

    async def test_a_committed_offset_is_kept_for_its_group_and_never_goes_back(self, log: RecordLog) -> None:
        await log.append(*(cloudevent(str(n)) for n in range(5)))
        await log.commit("a", 3)
        await log.commit("a", 2)
        await log.commit("b", 1)
        assert (await log.committed("a"), await log.committed("b")) == (3, 1)

    async def test_a_group_may_commit_zero(self, log: RecordLog) -> None:
        await log.commit("a", 0)
        assert await log.committed("a") == 0
