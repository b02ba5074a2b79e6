"""The Tables port in the plainest way there is: what every adapter is compared with."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.ports.clock import Clock
from shared.ports.tables import Put, Row, Table

Key = tuple[Any, ...]


class TablesModel:
    """The methods of Tables, without ``async``; one dict of rows by table and whole key, looked through."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[tuple[str, Key], tuple[dict[str, Any], datetime | None]] = {}

    def get(self, table: Table, key: Sequence[Any], *, serial: bool = False) -> Row | None:
        row, expires_at = self._rows.get((table.name, tuple(key)), (None, None))
        return None if expires_at is not None and expires_at <= self._clock.now() else row

    def slice(
        self,
        table: Table,
        partition: Sequence[Any],
        *,
        prefix: Sequence[Any] = (),
        after: Any = None,
        until: Any = None,
        limit: int,
        reverse: bool = False,
        serial: bool = False,
    ) -> list[Row]:
        start = (*partition, *prefix)
        keys = [
            key
            for name, key in self._rows
            if name == table.name
            and key[: len(start)] == start
            and (after is None or key[len(start)] > after)
            and (until is None or key[len(start)] <= until)
        ]
        rows = [row for key in sorted(keys, reverse=reverse) if (row := self.get(table, key)) is not None]
        return rows[:limit]

    def put(self, *puts: Put) -> None:
        for put in puts:
            self._store(put.table, put.row, put.ttl)

    def put_if_absent(self, table: Table, *rows: Row, ttl: int | None = None) -> list[Row]:
        found = [self.get(table, [row[name] for name in table.key]) for row in rows]
        in_the_way = [row for row in found if row is not None]
        if not in_the_way:
            for row in rows:
                self._store(table, row, ttl)
        return in_the_way

    def update_if(self, table: Table, key: Sequence[Any], *, expected: Row, changes: Row) -> bool:
        row = self.get(table, key)
        if row is None or not expected.items() <= row.items():
            return False
        _, expires_at = self._rows[table.name, tuple(key)]
        self._rows[table.name, tuple(key)] = {**row, **changes}, expires_at
        return True

    def delete(self, table: Table, *keys: Sequence[Any]) -> None:
        for key in keys:
            self._rows.pop((table.name, tuple(key)), None)

    def _store(self, table: Table, row: Row, ttl: int | None) -> None:
        expires_at = None if ttl is None else self._clock.now() + timedelta(seconds=ttl)
        key = tuple(row[name] for name in table.key)
        self._rows[table.name, key] = {**dict.fromkeys(table.all_columns), **row}, expires_at
