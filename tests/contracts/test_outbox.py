"""The Outbox contract over every way we hand events over (A3, E1; design.md 4)."""

import asyncio

import pytest

from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import MemoryTables
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.adapters.sqlite.outbox import SqliteOutbox
from shared.adapters.sqlite.tables import SqliteTables
from shared.adapters.tables_outbox import TablesOutbox
from shared.repositories.outbox_schema import OUTBOX, OUTBOX_SWEPT
from shared.testing import real_engines
from shared.testing.contracts.outbox import SCHEMA, House, OutboxContract, an_acceptance, standing


async def _events(log):
    return [record.event for record in await log.read(after=0, limit=10_000)]


class TestMemory(OutboxContract):
    @pytest.fixture
    async def house(self):
        clock, log = SettableClock(), MemoryRecordLog()
        tables = MemoryTables(clock, checkpoint=lambda: asyncio.sleep(0))
        yield House(TablesOutbox(tables, log, clock, CountedIds()), tables, lambda: _events(log))


class TestSqlite(OutboxContract):
    @pytest.fixture
    async def house(self, tmp_path):
        path = tmp_path / "chat4all.db"
        database = Database(path)
        tables, log = SqliteTables(database, SettableClock(), SCHEMA), SqliteEventLog(database, path)
        yield House(SqliteOutbox(database, tables, log), tables, lambda: _events(log))
        await database.close()

    async def test_what_was_accepted_is_there_after_a_restart(self, house, tmp_path):
        acceptance = an_acceptance()
        await house.outbox.commit(acceptance)
        reopened = Database(tmp_path / "chat4all.db")
        tables = SqliteTables(reopened, SettableClock(), SCHEMA)
        log = SqliteEventLog(reopened, tmp_path / "chat4all.db")
        assert await standing(tables, acceptance) == [True] * 4
        assert [event.attributes["id"] for event in await _events(log)] == [acceptance.events[0].id]
        await reopened.close()


@pytest.mark.real("cassandra")
class TestCassandra(OutboxContract):
    @pytest.fixture
    async def house(self):
        async with real_engines.cassandra_tables("chat4all_contract", (*SCHEMA, OUTBOX, OUTBOX_SWEPT)) as tables:
            log = MemoryRecordLog()
            yield House(TablesOutbox(tables, log, SettableClock(), CountedIds()), tables, lambda: _events(log))
