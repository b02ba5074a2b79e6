"""Tables in dicts, for tests: strict about types, and a place to interleave, to fail and to crash."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

from shared.domain.errors import Unanswered, Unavailable
from shared.ports.clock import Clock
from shared.ports.tables import Put, Row, Table, Type, Value

Checkpoint = Callable[[], Awaitable[None]]
"""Awaited before and after each operation takes effect; it may yield, wait, or raise as a crash would."""


class Fault(Enum):
    """What goes wrong with one operation; a read tells nothing in any case and raises Unavailable."""

    UNREACHED = "nothing happened, and the caller knows: Unavailable"
    SWALLOWED = "nothing happened, and the caller cannot know: Unanswered when conditional"
    LOST_ANSWER = "it happened, and the caller cannot know: Unanswered when conditional"


FaultHook = Callable[[str, Table], Fault | None]
"""Asked once for each operation, with the port's method name; ``put`` is asked for each row."""


async def _go_on() -> None:
    pass


def _no_fault(method: str, table: Table) -> Fault | None:
    return None


@dataclass(slots=True)
class _Stored:
    row: dict[str, Value]
    expires_at: datetime | None


@dataclass(slots=True)
class _Partition:
    """``order`` holds the clustering tuples of ``rows``, sorted."""

    order: list[tuple[Value, ...]] = field(default_factory=list)
    rows: dict[tuple[Value, ...], _Stored] = field(default_factory=dict)

    def find(self, clustering: tuple[Value, ...], now: datetime) -> dict[str, Value] | None:
        stored = self.rows.get(clustering)
        if stored is None:
            return None
        if stored.expires_at is not None and stored.expires_at <= now:
            self.remove(clustering)
            return None
        return stored.row

    def store(self, clustering: tuple[Value, ...], row: dict[str, Value], expires_at: datetime | None) -> None:
        if clustering not in self.rows:
            insort(self.order, clustering)
        self.rows[clustering] = _Stored(row, expires_at)

    def remove(self, clustering: tuple[Value, ...]) -> None:
        if self.rows.pop(clustering, None) is not None:
            del self.order[bisect_left(self.order, clustering)]

    def range(self, prefix: tuple[Value, ...], after: Value, until: Value) -> list[tuple[Value, ...]]:
        start = self._edge(bisect_left, prefix) if after is None else self._edge(bisect_right, (*prefix, after))
        stop = self._edge(bisect_right, prefix if until is None else (*prefix, until))
        return self.order[start:stop]

    def _edge(self, bisect: Callable[..., int], bound: tuple[Value, ...]) -> int:
        return bisect(self.order, bound, key=lambda clustering: clustering[: len(bound)])


class MemoryTables:
    """
    The Tables port. A row or key that does not fit its declaration is a TypeError, a bug of ours; so is a
    plain write to a conditional table and a conditional write to a plain one.
    """

    def __init__(self, clock: Clock, *, checkpoint: Checkpoint = _go_on, fault: FaultHook = _no_fault) -> None:
        self._clock = clock
        self.checkpoint = checkpoint
        self.fault = fault
        self._partitions: dict[tuple[Value, ...], _Partition] = {}

    def quiet(self) -> "MemoryTables":
        """The same rows without checkpoints and faults: for setting up and looking at what became of it."""
        view = MemoryTables(self._clock)
        view._partitions = self._partitions
        return view

    def rows(self, table: Table) -> list[Row]:
        """Every row of the table, in no order: for looking at what became of it."""
        return [
            dict(stored.row)
            for (name, *_), partition in self._partitions.items()
            if name == table.name
            for stored in partition.rows.values()
        ]

    async def get(self, table: Table, key: Sequence[Value], *, serial: bool = False) -> Row | None:
        partition, clustering = _split(table, key)
        await self._reach("get", table)
        found = self._partition(table, partition).find(clustering, self._clock.now())
        copy = None if found is None else dict(found)
        await self.checkpoint()
        return copy

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
        place = _key_values(table.partition, partition)
        if len(place) != len(table.partition):
            raise TypeError(f"{table.name}: a partition is named by {tuple(table.partition)}, not {partition!r}")
        fixed = _key_values(table.clustering, prefix)
        bounds = [bound for bound in (after, until) if bound is not None]
        for bound in bounds:
            _key_values(table.clustering, (*fixed, bound))
        if limit < 1:
            raise TypeError(f"{table.name}: limit {limit}")
        await self._reach("slice", table)
        rows, now = self._partition(table, place), self._clock.now()
        inside = rows.range(fixed, after, until)
        taken: list[Row] = []
        for clustering in reversed(inside) if reverse else inside:
            if (found := rows.find(clustering, now)) is not None:
                taken.append(dict(found))
                if len(taken) == limit:
                    break
        await self.checkpoint()
        return taken

    async def put(self, *puts: Put) -> None:
        for put in puts:
            if put.table.conditional:
                raise TypeError(f"{put.table.name} is judged by compare-and-set, and never written plainly")
            partition, clustering, row = _fit(put.table, put.row)
            lost = await self._reach("put", put.table)
            self._partition(put.table, partition).store(clustering, row, self._expiry(put.table, put.ttl))
            await self._answer("put", put.table, lost)

    async def put_if_absent(self, table: Table, *rows: Row, ttl: int | None = None) -> list[Row]:
        _require_conditional(table)
        fitted = [_fit(table, row) for row in rows]
        if len({partition for partition, _, _ in fitted}) != 1:
            raise TypeError(f"{table.name}: a conditional write is of one partition")
        if len({clustering for _, clustering, _ in fitted}) != len(fitted):
            raise TypeError(f"{table.name}: a conditional write names each key once")
        lost = await self._reach("put_if_absent", table, conditional=True)
        stored, now = self._partition(table, fitted[0][0]), self._clock.now()
        in_the_way: list[Row] = [
            dict(found) for _, clustering, _ in fitted if (found := stored.find(clustering, now)) is not None
        ]
        if not in_the_way:
            for _, clustering, row in fitted:
                stored.store(clustering, row, self._expiry(table, ttl))
        await self._answer("put_if_absent", table, lost, conditional=True)
        return in_the_way

    async def update_if(
        self, table: Table, key: Sequence[Value], *, expected: Row, changes: Row, ttl: int | None = None
    ) -> bool:
        _require_conditional(table)
        partition, clustering = _split(table, key)
        wanted, new = _columns(table, expected), _columns(table, changes)
        if not new:
            raise TypeError(f"{table.name}: nothing to change")
        lost = await self._reach("update_if", table, conditional=True)
        stored = self._partition(table, partition)
        found = stored.find(clustering, self._clock.now())
        holds = found is not None and all(found[name] == value for name, value in wanted.items())
        if found is not None and holds:
            expires_at = stored.rows[clustering].expires_at if ttl is None else self._expiry(table, ttl)
            stored.store(clustering, {**found, **new}, expires_at)
        await self._answer("update_if", table, lost, conditional=True)
        return holds

    async def delete(self, table: Table, *keys: Sequence[Value]) -> None:
        for key in keys:
            partition, clustering = _split(table, key)
            lost = await self._reach("delete", table)
            self._partition(table, partition).remove(clustering)
            await self._answer("delete", table, lost)

    async def _reach(self, method: str, table: Table, *, conditional: bool = False) -> bool:
        """Go to the store; whether the answer will be lost on the way back."""
        await self.checkpoint()
        match self.fault(method, table):
            case None:
                return False
            case Fault.LOST_ANSWER if method not in ("get", "slice"):
                return True
            case Fault.SWALLOWED if conditional:
                raise Unanswered(f"{method} of {table.name} got no answer")
            case _:
                raise Unavailable(f"{method} of {table.name} did not reach the store")

    async def _answer(self, method: str, table: Table, lost: bool, *, conditional: bool = False) -> None:
        await self.checkpoint()
        if lost:
            raise (Unanswered if conditional else Unavailable)(f"the answer to {method} of {table.name} was lost")

    def _partition(self, table: Table, partition: tuple[Value, ...]) -> _Partition:
        return self._partitions.setdefault((table.name, *partition), _Partition())

    def _expiry(self, table: Table, ttl: int | None) -> datetime | None:
        if ttl is None:
            return None
        if not table.expiring:
            raise TypeError(f"rows of {table.name} do not expire")
        return self._clock.now() + timedelta(seconds=ttl)


def _require_conditional(table: Table) -> None:
    if not table.conditional:
        raise TypeError(f"{table.name} is written plainly, and never judged by compare-and-set")


def _split(table: Table, key: Sequence[Value]) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    values = _key_values({**table.partition, **table.clustering}, key)
    if len(values) != len(table.key):
        raise TypeError(f"{table.name}: the whole key is {table.key}, not {key!r}")
    return values[: len(table.partition)], values[len(table.partition) :]


def _fit(table: Table, row: Row) -> tuple[tuple[Value, ...], tuple[Value, ...], dict[str, Value]]:
    partition, clustering = _split(table, [row.get(name) for name in table.key])
    others = _columns(table, {name: value for name, value in row.items() if name not in table.key})
    stored = dict(zip(table.key, (*partition, *clustering), strict=True))
    return partition, clustering, {**stored, **dict.fromkeys(table.columns), **others}


def _columns(table: Table, values: Row) -> dict[str, Value]:
    if unknown := values.keys() - table.columns.keys():
        raise TypeError(f"{table.name} has no columns {sorted(unknown)} outside its key")
    return {name: None if value is None else _typed(table.columns[name], value, name) for name, value in values.items()}


def _key_values(columns: Mapping[str, Type], values: Iterable[Value]) -> tuple[Value, ...]:
    given = tuple(values)
    if len(given) > len(columns):
        raise TypeError(f"{given!r} are more values than the columns {tuple(columns)}")
    return tuple(_typed(kind, value, name) for (name, kind), value in zip(columns.items(), given, strict=False))


def _typed(kind: Type, value: Value, name: str) -> Value:
    """The value as every store gives it back: a plain str for an enum, UTC for a zone like it."""
    match kind, value:
        case Type.TEXT, str():
            return str.__str__(value)
        case Type.BOOL, bool():
            return value
        case Type.INT, int() if not isinstance(value, bool) and -(2**63) <= value < 2**63:
            return int(value)
        case Type.BYTES, bytes():
            return value
        case Type.TIME, datetime() if value.utcoffset() == timedelta(0) and value.microsecond % 1000 == 0:
            return value.replace(tzinfo=UTC)
        case _:
            raise TypeError(f"{name}: {value!r} is no {kind.value}")
