"""The EventSink contract over every broker we hand events to (E1)."""

import pytest

from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.testing.contracts.event_sink import EventSinkContract


class _Logged(EventSinkContract):
    @pytest.fixture
    def delivered(self, sink):
        async def read():
            return [record.event for record in await sink.read(after=0, limit=10_000)]

        return read


class TestMemory(_Logged):
    @pytest.fixture
    async def sink(self):
        yield MemoryRecordLog()


class TestSqlite(_Logged):
    @pytest.fixture
    async def sink(self, tmp_path):
        path = tmp_path / "chat4all.db"
        database = Database(path)
        yield SqliteEventLog(database, path)
        await database.close()
