"""Keyspace and tables are made once, by whoever comes first, and grow with their declarations (design.md 6)."""

import asyncio
import subprocess
import sys
from dataclasses import replace

import pytest

from shared.adapters.cassandra.migration import LOCK
from shared.adapters.cassandra.schema import SchemaMismatch, create_keyspace, missing
from shared.adapters.cassandra.settings import CassandraSettings
from shared.adapters.cassandra.statements import Statements
from shared.adapters.cassandra.tables import CassandraTables
from shared.ports.tables import Put, Table, Type
from shared.repositories.schema import TABLES
from shared.testing import real_engines
from shared.testing.contracts.tables import CLAIMS, NOTES, PROFILES, SCHEMA, a_claim

real = pytest.mark.real("cassandra")
KEYSPACE = "chat4all_schema"


class TestStatements:
    @pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
    def test_every_table_of_ours_has_its_partition_and_clustering_as_the_key(self, table):
        (create,) = missing("k", [table], {})
        partition = ", ".join(f'"{name}"' for name in table.partition)
        clustering = "".join(f', "{name}"' for name in table.clustering)
        assert f"PRIMARY KEY (({partition}){clustering})" in create

    def test_nothing_is_missing_where_all_is_as_declared(self):
        found = {"profiles": {"tenant": "text key", "name": "text", "of_a_newer_release": "int"}}
        assert missing("k", [PROFILES], found) == []

    def test_a_column_that_came_later_is_added(self):
        assert missing("k", [PROFILES], {"profiles": {"tenant": "text key"}}) == [
            'ALTER TABLE "k"."profiles" ADD IF NOT EXISTS "name" text'
        ]

    def test_another_key_or_type_is_for_people(self):
        with pytest.raises(SchemaMismatch, match=r"k\.profiles\.name is blob, declared text"):
            missing("k", [PROFILES], {"profiles": {"tenant": "text key", "name": "blob"}})
        with pytest.raises(SchemaMismatch, match=r"k\.profiles\.tenant is text, declared text key"):
            missing("k", [PROFILES], {"profiles": {"id": "text key", "tenant": "text", "name": "text"}})
        with pytest.raises(SchemaMismatch, match=r"k\.profiles\.tenant is None, declared text key"):
            missing("k", [PROFILES], {"profiles": {"id": "text key", "name": "text"}})

    def test_a_conditional_table_cannot_have_a_column_of_our_name(self):
        with pytest.raises(TypeError, match="stands"):
            Statements("k", Table("t", {"tenant": Type.TEXT}, columns={"stands": Type.BOOL}), unset=None)


def test_the_driver_is_imported_by_those_who_connect():
    program = "import sys, shared.adapters.cassandra.tables; assert 'cassandra' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture
async def driver():
    """A session without a keyspace of its own; the keyspace of these tests is gone before and after."""
    from shared.adapters.cassandra.session import Session

    patient = replace(real_engines.cassandra_settings("system"), request_timeout=60.0)
    session = await Session.connect(patient, lambda _: None)
    drop = (f"DROP KEYSPACE IF EXISTS {KEYSPACE}", ())
    await session.write([drop])
    yield session
    await session.write([drop])
    await session.close()


@pytest.fixture
def settings() -> CassandraSettings:
    return real_engines.cassandra_settings(KEYSPACE)


@real
async def test_processes_that_start_at_the_same_time_make_one_schema(driver, settings):
    everybody = await asyncio.gather(*(CassandraTables.connect(settings, SCHEMA) for _ in range(4)))
    for n, tables in enumerate(everybody):
        await tables.put(Put(PROFILES, {"tenant": f"t{n}", "name": "A"}))
        assert await tables.put_if_absent(CLAIMS, a_claim(n)) == []
    for tables in everybody:
        assert [await tables.get(PROFILES, (f"t{n}",)) is not None for n in range(4)] == [True] * 4
        assert len(await tables.slice(CLAIMS, ("acme", "p"), limit=9, serial=True)) == 4
        await tables.close()


@real
async def test_columns_and_tables_that_came_later_are_added_and_what_was_there_stays(driver, settings):
    older = replace(NOTES, columns={"text": Type.TEXT})
    tables = await CassandraTables.connect(settings, [older])
    row = {"tenant": "acme", "owner": "alice", "kind": "a", "number": 1, "text": "x"}
    await tables.put(Put(older, row))
    newer = await CassandraTables.connect(settings, SCHEMA)
    assert await newer.get(NOTES, ("acme", "alice", "a", 1)) == {**dict.fromkeys(NOTES.all_columns), **row}
    await tables.put(Put(older, {**row, "number": 2}))  # the older release still runs
    assert await newer.put_if_absent(CLAIMS, a_claim()) == []
    for one in (tables, newer):
        await one.close()


@real
async def test_an_older_release_goes_on_when_a_newer_one_has_changed_its_tables(driver, settings):
    """The nodes forget statements of a changed table; whatever asks next prepares them again, batches too."""
    older = replace(CLAIMS, columns={"holder": Type.TEXT})
    tables = await CassandraTables.connect(settings, [older])
    for kinds in ("ab", "cd"):
        claims = [[a_claim(1, kind, place=f"p{n}") for kind in kinds] for n in range(20)]
        assert await asyncio.gather(*(tables.put_if_absent(older, *both) for both in claims)) == [[]] * 20
        assert await tables.put_if_absent(older, *claims[0]) == [{**row, "holder": None} for row in claims[0]]
        await (await CassandraTables.connect(settings, SCHEMA)).close()
    assert [row["kind"] for row in await tables.slice(older, ("acme", "p0"), limit=9)] == list("abcd")
    await tables.close()


@real
async def test_a_column_of_another_type_stops_the_start(driver, settings):
    await (await CassandraTables.connect(settings, [PROFILES])).close()
    with pytest.raises(SchemaMismatch):
        await CassandraTables.connect(settings, [replace(PROFILES, columns={"name": Type.INT})])


@real
async def test_the_lock_of_a_process_that_died_runs_out(driver, settings):
    await (await CassandraTables.connect(settings, [PROFILES])).close()
    lock = f"INSERT INTO {KEYSPACE}.{LOCK} (name, holder) VALUES ('schema', 'dead') USING TTL 2"
    await driver.write([(lock, ())])
    tables = await CassandraTables.connect(settings, SCHEMA)
    assert await tables.put_if_absent(CLAIMS, a_claim()) == []
    await tables.close()


@real
async def test_the_keyspace_has_the_replication_that_was_asked_for(driver, settings):
    await (await CassandraTables.connect(settings, [PROFILES])).close()
    read = ("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?", [KEYSPACE])
    ((replication,),) = await driver.read(read)
    assert replication["class"].endswith("NetworkTopologyStrategy")
    assert set(replication.values()) - {replication["class"]} == {str(settings.replication_factor)}
    assert create_keyspace(KEYSPACE, 3).endswith("'replication_factor': 3}")
