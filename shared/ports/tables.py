"""
The storage port: small wide-column tables (design.md 6).

A table is declared once, in ``shared.repositories.schema``. Its rows live in partitions; inside one they are
ordered by the clustering columns. Nothing can be asked that Cassandra cannot answer from one partition.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

Value = str | int | bytes | bool | datetime | None
Row = Mapping[str, Value]


class Type(Enum):
    TEXT = "text"
    INT = "int"  # 64 bits, signed
    BOOL = "bool"
    BYTES = "bytes"
    TIME = "time"  # aware UTC datetime, whole milliseconds


@dataclass(frozen=True, slots=True)
class Table:
    """
    ``partition`` and ``clustering`` columns are the key, never None; ``columns`` may be None.

    ``conditional`` says that rows are judged by compare-and-set: such a table is never written plainly, for
    plain and conditional writes to one cell do not mix in Cassandra (reliability.md 3.3).
    """

    name: str
    partition: Mapping[str, Type]
    clustering: Mapping[str, Type] = field(default_factory=dict)
    columns: Mapping[str, Type] = field(default_factory=dict)
    conditional: bool = False
    expiring: bool = False
    """Whether rows may be given a TTL; elsewhere a ttl is a TypeError."""
    immutable: bool = False
    """Whether a row is only ever written again as it was: what a put leaves out need not be cleared."""
    short_lived: bool = False
    """Whether rows are deleted soon, as from a queue, and one that came back would do no harm."""

    @property
    def key(self) -> tuple[str, ...]:
        return (*self.partition, *self.clustering)

    @property
    def all_columns(self) -> Mapping[str, Type]:
        return {**self.partition, **self.clustering, **self.columns}


@dataclass(frozen=True, slots=True)
class Put:
    """Write one row, over what is there. Columns left out become None. ``ttl`` in seconds."""

    table: Table
    row: Row
    ttl: int | None = None


class Tables(Protocol):
    """
    Every method raises Unavailable when the store cannot answer; a read then told nothing, a plain write may
    be repeated. A conditional write that got no answer raises Unanswered: read with ``serial`` to learn.

    A write is visible to every later read of the same process. Rows whose TTL has passed are absent.
    """

    async def get(self, table: Table, key: Sequence[Value], *, serial: bool = False) -> Row | None:
        """The row with this whole key (partition, then clustering values), or None."""
        ...

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
        """
        Rows of one partition in clustering order (``reverse``: descending), at most ``limit``.

        ``prefix`` fixes the first clustering columns; of the next one only values > ``after`` and <= ``until``
        are taken, whichever way the order runs.
        """
        ...

    async def put(self, *puts: Put) -> None:
        """Write the rows; each is idempotent. Several may be of several partitions and are not one unit."""
        ...

    async def put_if_absent(self, table: Table, *rows: Row, ttl: int | None = None) -> list[Row]:
        """
        Insert all rows, of one partition, if none of their keys exists: all or nothing.

        Returns: [] when they were inserted, else the rows that were in the way.
        """
        ...

    async def update_if(
        self, table: Table, key: Sequence[Value], *, expected: Row, changes: Row, ttl: int | None = None
    ) -> bool:
        """Set ``changes`` in the row if it exists and its columns equal ``expected``; whether it was so."""
        ...

    async def delete(self, table: Table, *keys: Sequence[Value]) -> None:
        """Remove the rows with these whole keys; absent ones are no error."""
        ...
