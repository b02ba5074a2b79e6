"""The EventLog contract over every log we have (E9: what operators look back at)."""

import pytest

from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.testing.build import a_message_accepted, an_event
from shared.testing.contracts.event_log import EventLogContract


class TestMemory(EventLogContract):
    @pytest.fixture
    async def log(self):
        yield MemoryRecordLog()

    @pytest.fixture
    def emit(self, log):
        return log.emit


class TestSqlite(EventLogContract):
    @pytest.fixture
    async def log(self, tmp_path):
        path = tmp_path / "chat4all.db"
        database = Database(path)
        yield SqliteEventLog(database, path)
        await database.close()

    @pytest.fixture
    def emit(self, log):
        return log.emit

    async def test_what_another_process_writes_to_the_file_is_read_too_and_nothing_stands_still(self, log, tmp_path):
        path = tmp_path / "chat4all.db"
        other = Database(path)
        foreign = SqliteEventLog(other, path)
        try:
            for number, writer in enumerate((log, log, foreign, log, foreign, foreign, log, log)):
                await writer.emit(an_event(a_message_accepted(), id=f"e{number}"))
                if writer is foreign:
                    continue  # the next of our own shows it
                read = await log.read(after=0, limit=100)
                assert [one.event.attributes["id"] for one in read] == [f"e{n}" for n in range(number + 1)]
                for after in range(number + 1):
                    assert (await log.read(after=after, limit=1))[0].offset == after + 1
        finally:
            await other.close()
