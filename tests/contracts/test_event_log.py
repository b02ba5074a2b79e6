"""The EventLog contract over every log we have (E9: what operators look back at)."""

import pytest

from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.event_log import SqliteEventLog
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
