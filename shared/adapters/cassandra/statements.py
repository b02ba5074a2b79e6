"""
The CQL of one declared table, and how its rows go in and come out.

Times are ``timestamp`` in milliseconds. A conditional table has a column of its own, ``stands``, true in every
row: only so can a condition tell a row whose columns are null from a row that is not there (ADR 0020).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.ports.tables import Row, Table, Type, Value

STANDS = "stands"
APPLIED = "[applied]"

CQL_TYPE = {Type.TEXT: "text", Type.INT: "bigint", Type.BOOL: "boolean", Type.BYTES: "blob", Type.TIME: "timestamp"}
_PYTHON_TYPE = {Type.TEXT: str, Type.INT: int, Type.BOOL: bool, Type.BYTES: bytes, Type.TIME: datetime}
_EPOCH = datetime(1970, 1, 1)
_AWARE_EPOCH = _EPOCH.replace(tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LONGEST_TTL = 20 * 365 * 86_400  # seconds; what Cassandra takes


class Statements:
    """``unset`` is what the driver takes for a value that is not to be written at all."""

    def __init__(self, keyspace: str, table: Table, *, unset: object) -> None:
        if STANDS in table.all_columns:
            raise TypeError(f"{table.name}: {STANDS} is a name of ours")
        self.table = table
        self.columns = tuple(table.all_columns)
        self._unset = unset
        self._shape = tuple((name, kind, name in table.key) for name, kind in table.all_columns.items())
        self._times = tuple(name for name, kind in table.all_columns.items() if kind is Type.TIME)
        self._name = f'"{keyspace}"."{table.name}"'
        self._selected = ", ".join(_quoted(self.columns))
        self._where = " AND ".join(f'"{name}" = ?' for name in table.key)
        self._ttl = " USING TTL ?" if table.expiring else ""
        self._slices: dict[tuple[int, bool, bool, bool], str] = {}
        written = (*self.columns, STANDS) if table.conditional else self.columns
        places = ", ".join("true" if name == STANDS else "?" for name in written)
        insert = f"INSERT INTO {self._name} ({', '.join(_quoted(written))}) VALUES ({places})"
        self.insert = insert + self._ttl
        self.insert_if_absent = f"{insert} IF NOT EXISTS{self._ttl}"
        self.select = f"SELECT {self._selected} FROM {self._name} WHERE {self._where}"
        self.select_lifetime = f"SELECT {self._selected}, TTL({STANDS}) FROM {self._name} WHERE {self._where}"
        self.delete = f"DELETE FROM {self._name} WHERE {self._where}{' IF EXISTS' if table.conditional else ''}"

    def slice(self, prefix: int, after: bool, until: bool, reverse: bool) -> str:
        shape = (prefix, after, until, reverse)
        cql = self._slices.get(shape)
        if cql is None:
            clustering = tuple(self.table.clustering)
            where = [f'"{name}" = ?' for name in (*self.table.partition, *clustering[:prefix])]
            where += [f'"{clustering[prefix]}" > ?'] if after else []
            where += [f'"{clustering[prefix]}" <= ?'] if until else []
            order = ", ".join(f'"{name}" DESC' for name in clustering) if reverse else ""
            cql = f"SELECT {self._selected} FROM {self._name} WHERE {' AND '.join(where)}"
            cql += f" ORDER BY {order} LIMIT ?" if order else " LIMIT ?"
            self._slices[shape] = cql
        return cql

    def update_if(self, changed: Iterable[str], expected: Iterable[str]) -> str:
        changes = ", ".join(f'"{name}" = ?' for name in changed)
        return f"UPDATE {self._name} SET {changes} WHERE {self._where} IF {self._as_expected(expected)}"

    def stand_if(self, expected: Iterable[str]) -> str:
        """Changes nothing; carries the condition of a batch."""
        return (
            f"UPDATE {self._name}{self._ttl} SET {STANDS} = true WHERE {self._where} IF {self._as_expected(expected)}"
        )

    def _as_expected(self, expected: Iterable[str]) -> str:
        return " AND ".join([f"{STANDS} = true", *(f'"{name}" = ?' for name in expected)])

    def key(self, key: Sequence[Value]) -> list[Any]:
        """
        Raises:
            TypeError: it is not the whole key, or a value is of another type.
        """
        if len(key) != len(self.table.key):
            raise TypeError(f"{self.table.name}: the whole key is {self.table.key}, not {key!r}")
        return [self._bound(name, value) for name, value in zip(self.table.key, key, strict=True)]

    def range(
        self, partition: Sequence[Value], prefix: Sequence[Value], after: Value, until: Value, limit: int
    ) -> list[Any]:
        """
        What ``slice`` is bound to.

        Raises:
            TypeError: it is not the whole partition, or a value is of another type.
        """
        if len(partition) != len(self.table.partition):
            raise TypeError(f"{self.table.name}: a partition is named by {tuple(self.table.partition)}")
        fixed = [self._bound(name, value) for name, value in zip(self.table.key, (*partition, *prefix), strict=False)]
        bounds = [bound for bound in (after, until) if bound is not None]
        return fixed + [self._bound(self.table.key[len(fixed)], bound) for bound in bounds] + [limit]

    def values(self, row: Row, ttl: int | None, *, clear: bool) -> list[Any]:
        """
        What the inserts are bound to; ``clear``: also what is None is written, over what may be there.

        Raises:
            TypeError: the row has a column that is not declared or a value of another type, or lacks part of
                the key; or it has a TTL, and rows of the table do not expire.
        """
        nothing = None if clear else self._unset
        values: list[Any] = []
        for name, kind, in_key in self._shape:
            value = row.get(name)
            if value is None and not in_key:
                values.append(nothing)
            else:
                values.append(_bound(kind, value, self.table.name, name))
        if unknown := row.keys() - self.table.all_columns.keys():
            raise TypeError(f"{self.table.name} has no columns {sorted(unknown)}")
        return values + self.lifetime(ttl)

    def some(self, columns: Row) -> list[Any]:
        """
        Raises:
            TypeError: a column is not declared outside the key, or a value is of another type.
        """
        if unknown := columns.keys() - self.table.columns.keys():
            raise TypeError(f"{self.table.name} has no columns {sorted(unknown)} outside its key")
        return [None if value is None else self._bound(name, value) for name, value in columns.items()]

    def lifetime(self, ttl: int | None) -> list[int]:
        """The TTL to bind, if the table's statements take one; 0 is none to Cassandra, so what is over gets 1."""
        if self.table.expiring:
            return [0 if ttl is None else min(max(ttl, 1), _LONGEST_TTL)]
        if ttl is not None:
            raise TypeError(f"rows of {self.table.name} do not expire")
        return []

    def row(self, values: Sequence[Any]) -> dict[str, Value]:
        """The row of what ``select`` and ``slice`` gave."""
        return self._with_zones(dict(zip(self.columns, values, strict=False)))

    def row_in_the_way(self, answer: Mapping[str, Any]) -> dict[str, Value]:
        """A row that a conditional insert was answered with: Cassandra gives it whole."""
        return self._with_zones({name: answer[name] for name in self.columns})

    def _with_zones(self, row: dict[str, Any]) -> dict[str, Value]:
        for name in self._times:
            if row[name] is not None:
                row[name] = _aware(row[name])
        return row

    def _bound(self, name: str, value: Value) -> Any:
        return _bound(self.table.all_columns[name], value, self.table.name, name)


def _bound(kind: Type, value: Value, table: str, name: str) -> Any:
    if type(value) is not _PYTHON_TYPE[kind]:
        if value is None or not isinstance(value, _PYTHON_TYPE[kind]) or isinstance(value, bool):
            raise TypeError(f"{table}.{name} takes {kind.value}, not {value!r}")
        if kind is Type.TEXT:
            return str.__str__(value)
    if kind is Type.TIME:
        return (value - _AWARE_EPOCH) // _MILLISECOND  # type: ignore[operator]
    return value


def _aware(at: datetime) -> datetime:
    """The driver computes with floats; what it gives may be a microsecond beside the millisecond."""
    if at.microsecond % 1000:
        at = _EPOCH + round((at - _EPOCH) / _MILLISECOND) * _MILLISECOND
    return at.replace(tzinfo=UTC)


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]
