"""
The Tables port on SQLite: one WITHOUT ROWID table for each declared one, its key the clustered index.

Times are stored as milliseconds since the epoch, booleans as 0 and 1. A table that is ``expiring`` has a column
``expires_at``; rows past it are absent for every read and are removed by ``purge``.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from shared.adapters.sqlite.database import CorruptDatabase, Database
from shared.ports.clock import Clock
from shared.ports.tables import Put, Row, Table, Type, Value

_SQL_TYPE = {Type.TEXT: "TEXT", Type.INT: "INTEGER", Type.BOOL: "INTEGER", Type.BYTES: "BLOB", Type.TIME: "INTEGER"}
_PYTHON_TYPE = {Type.TEXT: str, Type.INT: int, Type.BOOL: bool, Type.BYTES: bytes, Type.TIME: datetime}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPIRES = "expires_at"


def to_ms(at: datetime) -> int:
    """Whole milliseconds since the epoch."""
    elapsed = at - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1000 + elapsed.microseconds // 1000


def from_ms(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


class _Statements:
    """The SQL of one declared table, and how its values go in and out."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.columns = tuple(table.all_columns)
        self.key_columns = table.key
        self._types = table.all_columns
        self._shape = tuple(
            (name, _PYTHON_TYPE[kind], kind, name in self.key_columns) for name, kind in self._types.items()
        )
        self._times = tuple(name for name, kind in self._types.items() if kind is Type.TIME)
        self._bools = tuple(name for name, kind in self._types.items() if kind is Type.BOOL)
        self._selected = ", ".join(f'"{name}"' for name in self.columns)
        stored = (*self.columns, _EXPIRES) if table.expiring else self.columns
        places = ", ".join("?" * len(stored))
        names = ", ".join(f'"{name}"' for name in stored)
        self.upsert = f'INSERT OR REPLACE INTO "{table.name}" ({names}) VALUES ({places})'
        self.insert = f'INSERT INTO "{table.name}" ({names}) VALUES ({places}) ON CONFLICT DO NOTHING'
        self.where_key = " AND ".join(f'"{name}" = ?' for name in table.key)
        self.select = f'SELECT {self._selected} FROM "{table.name}" WHERE {self.where_key}'
        self.select += f" AND ({_EXPIRES} IS NULL OR {_EXPIRES} > ?)" if table.expiring else ""
        self.delete = f'DELETE FROM "{table.name}" WHERE {self.where_key}'
        self.slices: dict[tuple[int, bool, bool, bool], str] = {}

    @cached_property
    def create(self) -> list[str]:
        declared = [
            f'"{name}" {_SQL_TYPE[kind]}{" NOT NULL" if name in self.table.key else ""}'
            for name, kind in self._types.items()
        ]
        if self.table.expiring:
            declared.append(f"{_EXPIRES} INTEGER")
        key = ", ".join(f'"{name}"' for name in self.table.key)
        statements = [
            f'CREATE TABLE IF NOT EXISTS "{self.table.name}" ({", ".join(declared)}, PRIMARY KEY ({key})) WITHOUT ROWID'
        ]
        if self.table.expiring:
            statements.append(
                f'CREATE INDEX IF NOT EXISTS "{self.table.name}_expiry" ON "{self.table.name}" ({_EXPIRES}) '
                f"WHERE {_EXPIRES} IS NOT NULL"
            )
        return statements

    def slice(self, prefix: int, after: bool, until: bool, reverse: bool) -> str:
        shape = (prefix, after, until, reverse)
        sql = self.slices.get(shape)
        if sql is None:
            clustering = tuple(self.table.clustering)
            where = [f'"{name}" = ?' for name in (*self.table.partition, *clustering[:prefix])]
            where += [f'"{clustering[prefix]}" > ?'] if after else []
            where += [f'"{clustering[prefix]}" <= ?'] if until else []
            where += [f"({_EXPIRES} IS NULL OR {_EXPIRES} > ?)"] if self.table.expiring else []
            order = ", ".join(f'"{name}" {"DESC" if reverse else "ASC"}' for name in clustering) or "1"
            sql = (
                f'SELECT {self._selected} FROM "{self.table.name}" WHERE {" AND ".join(where)} ORDER BY {order} LIMIT ?'
            )
            self.slices[shape] = sql
        return sql

    def values(self, row: Row, expires_at: int | None) -> list[Any]:
        """
        Raises:
            TypeError: the row has a column that is not declared, or a value of another type.
        """
        get = row.get
        found = 0
        values: list[Any] = []
        for name, python_type, kind, in_key in self._shape:
            value = get(name)
            if value is None:
                found += name in row
                if in_key:
                    raise TypeError(f"{self.table.name}.{name} is part of the key and is missing")
            else:
                found += 1
                if type(value) is not python_type:
                    value = _coerced(value, kind, f"{self.table.name}.{name}")
                if python_type is datetime:
                    value = to_ms(value)  # type: ignore[arg-type]
            values.append(value)
        if found != len(row):
            raise TypeError(f"{self.table.name} has no column {sorted(set(row) - set(self.columns))}")
        if self.table.expiring:
            values.append(expires_at)
        return values

    def key(self, key: Sequence[Value]) -> list[Any]:
        if len(key) != len(self.key_columns):
            raise TypeError(f"{self.table.name}: a whole key is {self.key_columns}")
        return [stored(value) for value in key]

    def row(self, values: Sequence[Any]) -> dict[str, Value]:
        row: dict[str, Value] = dict(zip(self.columns, values, strict=True))
        for name in self._times:
            ms = row[name]
            if ms is not None:
                row[name] = from_ms(ms)  # type: ignore[arg-type]
        for name in self._bools:
            if row[name] is not None:
                row[name] = bool(row[name])
        return row


def stored(value: Value) -> Any:
    """The value as SQLite keeps it."""
    if type(value) is datetime:
        return to_ms(value)
    if type(value) is bool:
        return int(value)
    return value


def _coerced(value: object, kind: Type, where: str) -> Any:
    if isinstance(value, _PYTHON_TYPE[kind]) and not (kind is Type.INT and isinstance(value, bool)):
        return _PYTHON_TYPE[kind](value) if kind is Type.TEXT else value
    raise TypeError(f"{where} takes {kind.value}, not {type(value).__name__}")


class SqliteTables:
    def __init__(self, database: Database, clock: Clock, tables: Iterable[Table]) -> None:
        self._database = database
        self._clock = clock
        self._statements = {table.name: _Statements(table) for table in tables}
        database.execute_at_start(self._migrate)

    async def get(self, table: Table, key: Sequence[Value], *, serial: bool = False) -> Row | None:
        of = self._statements[table.name]
        parameters = of.key(key)
        if table.expiring:
            parameters.append(self._now())
        rows = self._database.read(of.select, parameters)
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
        if len(partition) != len(table.partition):
            raise TypeError(f"{table.name}: a partition is {tuple(table.partition)}")
        parameters = [stored(value) for value in (*partition, *prefix)]
        parameters += [stored(bound) for bound in (after, until) if bound is not None]
        if table.expiring:
            parameters.append(self._now())
        parameters.append(limit)
        sql = of.slice(len(prefix), after is not None, until is not None, reverse)
        return [of.row(values) for values in self._database.read(sql, parameters)]

    async def put(self, *puts: Put) -> None:
        await self._database.write(self.putting(puts))

    async def put_if_absent(self, table: Table, *rows: Row, ttl: int | None = None) -> list[Row]:
        return await self._database.write(self.inserting(table, rows, ttl))

    async def update_if(
        self, table: Table, key: Sequence[Value], *, expected: Row, changes: Row, ttl: int | None = None
    ) -> bool:
        of = self._statements[table.name]
        of.values({**dict(zip(table.key, key, strict=True)), **expected, **changes}, None)
        assignments = [f'"{name}" = ?' for name in changes]
        parameters = [stored(value) for value in changes.values()]
        if table.expiring and ttl is not None:
            assignments.append(f"{_EXPIRES} = ?")
            parameters.append(self._now() + ttl * 1000)
        conditions = [f'"{name}" IS ?' for name in expected]
        parameters += of.key(key) + [stored(value) for value in expected.values()]
        if table.expiring:
            conditions.append(f"({_EXPIRES} IS NULL OR {_EXPIRES} > ?)")
            parameters.append(self._now())
        sql = f'UPDATE "{table.name}" SET {", ".join(assignments)} WHERE ' + " AND ".join([of.where_key, *conditions])
        return await self._database.write(lambda connection: connection.execute(sql, parameters).rowcount == 1)

    async def delete(self, table: Table, *keys: Sequence[Value]) -> None:
        of = self._statements[table.name]
        whole = [of.key(key) for key in keys]
        await self._database.write(lambda connection: connection.executemany(of.delete, whole))

    async def purge(self, *, limit: int = 10_000) -> int:
        """Remove rows whose TTL has passed, at most ``limit`` of each table; how many went."""
        now = self._now()

        def work(connection: sqlite3.Connection) -> int:
            gone = 0
            for of in self._statements.values():
                if of.table.expiring:
                    key = ", ".join(f'"{name}"' for name in of.table.key)
                    gone += connection.execute(
                        f'DELETE FROM "{of.table.name}" WHERE ({key}) IN (SELECT {key} FROM "{of.table.name}" '
                        f"WHERE {_EXPIRES} IS NOT NULL AND {_EXPIRES} <= ? LIMIT ?)",
                        (now, limit),
                    ).rowcount
            return gone

        return await self._database.write(work)

    def putting(self, puts: Sequence[Put]) -> Callable[[sqlite3.Connection], None]:
        """The work that writes ``puts``; the outbox joins it with other work."""
        statements = [
            (of.upsert, of.values(put.row, self._expiry(put.table, put.ttl)))
            for put in puts
            for of in (self._statements[put.table.name],)
        ]

        def work(connection: sqlite3.Connection) -> None:
            for sql, values in statements:
                connection.execute(sql, values)

        return work

    def inserting(
        self, table: Table, rows: Sequence[Row], ttl: int | None = None
    ) -> Callable[[sqlite3.Connection], list[Row]]:
        """The work that inserts all ``rows`` or none; its result are the rows in the way."""
        of = self._statements[table.name]
        inserts = [of.values(row, self._expiry(table, ttl)) for row in rows]
        keys = [of.key([row[name] for name in of.key_columns]) for row in rows]
        now = [self._now()] if table.expiring else []

        def work(connection: sqlite3.Connection) -> list[Row]:
            if table.expiring:
                for key in keys:
                    connection.execute(f"{of.delete} AND {_EXPIRES} <= ?", key + now)
            for index, values in enumerate(inserts):
                if connection.execute(of.insert, values).rowcount != 1:
                    connection.executemany(of.delete, keys[:index])
                    found = (connection.execute(of.select, key + now).fetchone() for key in keys)
                    return [of.row(values) for values in found if values is not None]
            return []

        return work

    def _expiry(self, table: Table, ttl: int | None) -> int | None:
        if ttl is None:
            return None
        if not table.expiring:
            raise TypeError(f"rows of {table.name} do not expire")
        return self._now() + ttl * 1000

    def _now(self) -> int:
        return to_ms(self._clock.now())

    def _migrate(self, connection: sqlite3.Connection) -> None:
        for of in self._statements.values():
            for statement in of.create:
                connection.execute(statement)
            found = connection.execute(f'PRAGMA table_info("{of.table.name}")').fetchall()
            present = {row[1] for row in found}
            key = [row[1] for row in sorted(found, key=lambda row: int(row[5])) if row[5]]
            if key != list(of.table.key):
                raise CorruptDatabase(f"it was made by another version: its table {of.table.name} has other keys")
            for name, kind in of.table.columns.items():
                if name not in present:
                    connection.execute(f'ALTER TABLE "{of.table.name}" ADD COLUMN "{name}" {_SQL_TYPE[kind]}')
