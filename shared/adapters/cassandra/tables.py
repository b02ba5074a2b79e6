"""
The Tables port on Cassandra 5: one table for each declared one, reads and writes at QUORUM, judged ones by Paxos.

Rounds of Paxos about one partition get in each other's way, and each costs milliseconds. So those of one process
are put one behind the other here, serial reads among them; only processes meet in Cassandra.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from shared.adapters.cassandra.migration import LOCK, Migration
from shared.adapters.cassandra.settings import CassandraSettings
from shared.adapters.cassandra.statements import APPLIED, Statements
from shared.domain.errors import Unavailable
from shared.keyed_locks import KeyedLocks
from shared.ports.tables import Put, Row, Table, Value

if TYPE_CHECKING:
    from shared.adapters.cassandra.session import Session, Statement


class CassandraTables:
    """
    A row or key that does not fit its declaration is a TypeError, a bug of ours; so is a plain write to a
    conditional table and a conditional write to a plain one.
    """

    def __init__(self, session: "Session", settings: CassandraSettings, tables: Iterable[Table]) -> None:
        self._session = session
        self._statements = {table.name: Statements(settings.keyspace, table, unset=session.unset) for table in tables}
        self._ping = f'SELECT holder FROM "{settings.keyspace}"."{LOCK}" WHERE name = \'schema\''
        self._patience = settings.request_timeout
        self._lanes: KeyedLocks[tuple[Value, ...]] = KeyedLocks()

    @classmethod
    async def connect(cls, settings: CassandraSettings, tables: Iterable[Table]) -> Self:
        """
        Connect, and make the keyspace and the tables, or what they lack, where they are not as declared.

        Raises:
            Unavailable: no contact point answers.
            SchemaMismatch: a table is there with another key, or a column with another type, than is declared.
        """
        from shared.adapters.cassandra.session import Session  # the driver costs 130 ms and 26 MB

        declared = tuple(tables)

        def migrate(session: Any) -> None:
            Migration(session, settings.keyspace, settings.replication_factor, declared).run()

        return cls(await Session.connect(settings, migrate), settings, declared)

    async def close(self) -> None:
        await self._session.close()

    async def ping(self) -> float:
        """
        How long a read at QUORUM takes now, in seconds.

        Raises:
            Unavailable: there was no answer.
        """
        started = time.perf_counter()
        await self._session.read((self._ping, ()))
        return time.perf_counter() - started

    async def get(self, table: Table, key: Sequence[Value], *, serial: bool = False) -> Row | None:
        of = self._statements[table.name]
        bound = of.key(key)
        rows = await self._read(table, bound, (of.select, bound), serial)
        return of.row(rows[0]) if rows else None

    async def slice(
        self,
        table: Table,
        partition: Sequence[Value],
        *,
        prefix: Sequence[Value] = (),
        after: Value = None,
        until: Value = None,
        limit: int,
        reverse: bool = False,
        serial: bool = False,
    ) -> list[Row]:
        of = self._statements[table.name]
        bound = of.range(partition, prefix, after, until, limit)
        cql = of.slice(len(prefix), after is not None, until is not None, reverse)
        return [of.row(row) for row in await self._read(table, bound, (cql, bound), serial)]

    async def put(self, *puts: Put) -> None:
        await self._session.write([self._putting(put) for put in puts])

    async def put_if_absent(self, table: Table, *rows: Row, ttl: int | None = None) -> list[Row]:
        _require_conditional(table)
        of = self._statements[table.name]
        keys = [of.key([row.get(name) for name in table.key]) for row in rows]
        if len({tuple(key[: len(table.partition)]) for key in keys}) != 1:
            raise TypeError(f"{table.name}: a conditional write is of one partition")
        if len({tuple(key) for key in keys}) != len(keys):
            raise TypeError(f"{table.name}: a conditional write names each key once")
        inserts = [(of.insert_if_absent, of.values(row, ttl, clear=False)) for row in rows]
        async with self._lane(table, keys[0]):
            answer = await self._session.judge(*inserts)
        if answer[0][APPLIED]:
            return []
        found = {tuple(of.key([row[name] for name in table.key])): row for row in map(of.row_in_the_way, answer)}
        return [found[key] for key in map(tuple, keys) if key in found]

    async def update_if(
        self, table: Table, key: Sequence[Value], *, expected: Row, changes: Row, ttl: int | None = None
    ) -> bool:
        _require_conditional(table)
        of = self._statements[table.name]
        bound, wanted, new = of.key(key), of.some(expected), of.some(changes)
        of.lifetime(ttl)
        if not changes:
            raise TypeError(f"{table.name}: nothing to change")
        async with self._lane(table, bound):
            if table.expiring:
                return await self._rewrite_if(of, bound, expected, changes, ttl)
            answer = await self._session.judge((of.update_if(changes, expected), [*new, *bound, *wanted]))
        return bool(answer[0][APPLIED])

    async def delete(self, table: Table, *keys: Sequence[Value]) -> None:
        of = self._statements[table.name]
        deletes = [(of.delete, of.key(key)) for key in keys]
        if not table.conditional:
            await self._session.write(deletes)
            return
        for delete in deletes:
            async with self._lane(table, delete[1]):
                await self._session.judge(delete)

    async def _rewrite_if(self, of: Statements, bound: list[Any], expected: Row, changes: Row, ttl: int | None) -> bool:
        """
        Cells expire one by one in Cassandra, so a row that is to expire as a whole is written as a whole: what
        was read is the condition, and what it becomes is inserted over it.
        """
        while True:
            rows = await self._session.read((of.select_lifetime, bound), serial=True)
            if not rows:
                return False
            row, lifetime = of.row(rows[0]), rows[0][-1]
            if any(row[name] != value for name, value in expected.items()):
                return False
            there = {name: row[name] for name in of.table.columns}
            left = ttl if ttl is not None else lifetime
            answer = await self._session.judge(
                (of.stand_if(there), [*of.lifetime(left), *bound, *of.some(there)]),
                (of.insert, of.values({**row, **changes}, left, clear=True)),
            )
            if answer[0][APPLIED]:
                return True

    def _putting(self, put: Put) -> "Statement":
        if put.table.conditional:
            raise TypeError(f"{put.table.name} is judged by compare-and-set, and never written plainly")
        of = self._statements[put.table.name]
        return of.insert, of.values(put.row, put.ttl, clear=not put.table.immutable)

    async def _read(self, table: Table, bound: list[Any], statement: "Statement", serial: bool) -> list[Any]:
        if not (serial and table.conditional):
            return await self._session.read(statement)
        async with self._lane(table, bound):
            return await self._session.read(statement, serial=True)

    @asynccontextmanager
    async def _lane(self, table: Table, bound: list[Any]) -> AsyncIterator[None]:
        """
        Raises:
            Unavailable: those before took as long as one may take; nothing was sent.
        """
        place = (table.name, *bound[: len(table.partition)])
        lane = self._lanes.of(place)
        try:
            async with asyncio.timeout(self._patience):
                await lane.acquire()
        except TimeoutError:
            raise Unavailable(f"too many conditional writes to one partition of {table.name} wait") from None
        try:
            yield
        finally:
            lane.release()


def _require_conditional(table: Table) -> None:
    if not table.conditional:
        raise TypeError(f"{table.name} is written plainly, and never judged by compare-and-set")
