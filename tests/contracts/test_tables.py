"""The Tables contract over every store we have (design.md 6, E12)."""

import asyncio

import pytest

from shared.adapters.memory.tables import Fault, MemoryTables
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.tables import SqliteTables
from shared.domain.errors import Unanswered, Unavailable
from shared.ports.tables import Put
from shared.testing import real_engines
from shared.testing.contracts.tables import CLAIMS, NOTES, SCHEMA, TablesContract, a_claim, a_note


class TestMemory(TablesContract):
    @pytest.fixture
    async def tables(self, clock):
        yield MemoryTables(clock, checkpoint=lambda: asyncio.sleep(0))

    async def test_plain_and_conditional_writes_do_not_mix(self, tables):
        with pytest.raises(TypeError):
            await tables.put(Put(CLAIMS, a_claim()))
        with pytest.raises(TypeError):
            await tables.put_if_absent(NOTES, a_note())

    @pytest.mark.parametrize(
        ("fault", "happened", "conditional_error"),
        [
            (Fault.UNREACHED, False, Unavailable),
            (Fault.SWALLOWED, False, Unanswered),
            (Fault.LOST_ANSWER, True, Unanswered),
        ],
    )
    async def test_a_fault_is_what_it_says(self, tables, fault, happened, conditional_error):
        tables.fault = lambda method, table: fault
        with pytest.raises(conditional_error) as conditional:
            await tables.put_if_absent(CLAIMS, a_claim())
        with pytest.raises(Unavailable) as plain:
            await tables.put(Put(NOTES, a_note()))
        with pytest.raises(Unavailable):
            await tables.get(NOTES, ("acme", "alice", "a", 1))
        assert (type(conditional.value), type(plain.value)) == (conditional_error, Unavailable)
        tables.fault = lambda method, table: None
        claim = await tables.get(CLAIMS, ("acme", "p", "a", 1))
        note = await tables.get(NOTES, ("acme", "alice", "a", 1))
        assert (claim is not None, note is not None) == (happened, happened)


class TestSqlite(TablesContract):
    @pytest.fixture
    async def tables(self, clock, tmp_path):
        database = Database(tmp_path / "chat4all.db")
        yield SqliteTables(database, clock, SCHEMA)
        await database.close()


@pytest.mark.real("cassandra")
class TestCassandra(TablesContract):
    clock_is_ours = False

    @pytest.fixture
    async def tables(self):
        async with real_engines.cassandra_tables("chat4all_contract", SCHEMA) as tables:
            yield tables

    @pytest.fixture
    def pass_time(self):
        return asyncio.sleep

    async def test_plain_and_conditional_writes_do_not_mix(self, tables):
        with pytest.raises(TypeError):
            await tables.put(Put(CLAIMS, a_claim()))
        with pytest.raises(TypeError):
            await tables.put_if_absent(NOTES, a_note())
