"""The Sweeper contract over every way we clean up (E1; design.md 4)."""

import asyncio
from datetime import timedelta

import pytest

from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import MemoryTables
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.adapters.sqlite.outbox import SqliteOutbox
from shared.adapters.sqlite.sweeper import SqliteSweeper
from shared.adapters.sqlite.tables import SqliteTables
from shared.adapters.tables_outbox import SHARDS, OutboxSweeper, TablesOutbox
from shared.ports.tables import Put
from shared.repositories.outbox_schema import OUTBOX, OUTBOX_SWEPT
from shared.repositories.schema import PLATFORM
from shared.testing import real_engines
from shared.testing.contracts.outbox import SCHEMA
from shared.testing.contracts.sweeper import House, SweeperContract


async def _events(log):
    return [record.event for record in await log.read(after=0, limit=10_000)]


def _passing(clock):
    async def pass_time(much):
        clock.advance(much)

    return pass_time


async def _over(tables, clock, pass_time):
    # As where it has run before: a first sweep looks back over a week.
    minute = int(clock.now().timestamp()) // 60
    for shard in range(SHARDS):
        await tables.put(Put(OUTBOX_SWEPT, {"tenant": PLATFORM, "shard": shard, "minute": minute}))
    log = MemoryRecordLog()
    outbox, sweeper = TablesOutbox(tables, log, clock, CountedIds()), OutboxSweeper(tables, log, clock, SCHEMA)
    return House(outbox, tables, lambda: _events(log), sweeper, pass_time)


class TestMemory(SweeperContract):
    @pytest.fixture
    async def house(self):
        clock = SettableClock()
        yield await _over(MemoryTables(clock, checkpoint=lambda: asyncio.sleep(0)), clock, _passing(clock))


class TestSqlite(SweeperContract):
    @pytest.fixture
    async def house(self, tmp_path):
        path, clock = tmp_path / "chat4all.db", SettableClock()
        database = Database(path)
        tables, log = SqliteTables(database, clock, SCHEMA), SqliteEventLog(database, path)
        outbox, sweeper = SqliteOutbox(database, tables, log), SqliteSweeper(tables, log, keep_events=100)
        yield House(outbox, tables, lambda: _events(log), sweeper, _passing(clock))
        await database.close()


@pytest.mark.real("cassandra")
class TestCassandra(SweeperContract):
    expire = timedelta(seconds=2)

    @pytest.fixture
    async def house(self):
        async with real_engines.cassandra_tables("chat4all_contract", (*SCHEMA, OUTBOX, OUTBOX_SWEPT)) as tables:
            clock = SettableClock()

            async def pass_time(much):
                clock.advance(much)
                if much == self.expire:
                    await asyncio.sleep(much.total_seconds())

            yield await _over(tables, clock, pass_time)
