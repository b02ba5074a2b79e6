"""The log on disk keeps what the trigger runner is promised (E1), also when old events are trimmed."""

import pytest

from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.testing.build import an_event, an_id
from shared.testing.contracts.record_log import RecordLogContract


class TestSqliteRecordLog(RecordLogContract):
    @pytest.fixture
    async def log(self, tmp_path):
        path = tmp_path / "chat4all.db"
        database = Database(path)
        yield SqliteEventLog(database, path)
        await database.close()

    async def test_offsets_and_groups_go_on_after_a_restart(self, log, tmp_path):
        await log.emit(*(an_event(id=an_id(f"{n}")) for n in range(5)))
        await log.commit("route", 3)
        reopened = Database(tmp_path / "chat4all.db")
        again = SqliteEventLog(reopened, tmp_path / "chat4all.db")
        assert await again.head() == 5
        assert await again.committed("route") == 3
        assert [one.event.attributes["id"] for one in await again.read(after=3, limit=10)] == [an_id("3"), an_id("4")]
        await again.emit(an_event(id=an_id("5")))
        assert await again.head() == 6
        await reopened.close()

    async def test_a_trim_takes_the_oldest_that_every_group_is_done_with(self, log):
        await log.emit(*(an_event(id=an_id(f"{n}")) for n in range(1, 11)))
        await log.commit("route", 4)
        await log.commit("push", 9)
        assert await log.trim(2) == 4
        await log.commit("route", 10)
        assert await log.trim(2) == 4
        await log.emit(an_event(id=an_id("11")))
        assert await log.head() == 11
