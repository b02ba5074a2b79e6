"""
The outbox over Tables and an EventSink that share no transaction: Cassandra and Kafka (design.md 4).

An entry that says what is promised is written first, and the leads with it; then the claims, the puts, the
events; then the entry is deleted. Whatever stops the sender on the way, the sweeper finds the entry and looks at
the claims:

- they stand as the entry has them: the promise was made, and is kept now;
- other rows stand in their place: the claims were refused, and the entry goes;
- nothing stands there: the sender died, or is slow and its claims may still land, minutes later. Nothing can
  make that impossible without taking the place of the claims, so the entry stays as long as there is hope:
  it is put off for as long as it has existed, doubling until its TTL. An abandoned entry costs some fifteen
  looks in a week, and only claims that land days after their entry was written would be lost.

So an entry is gone before its claims have landed only when they never can, and no two clocks need to agree:
a look at the wrong time repeats events, which have the same ids, or puts the entry off. What a sweeper whose clock
was ahead has passed over is found within the hour by those that look a day back, unless the clock was ahead by more.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zlib import crc32

import msgspec
import orjson

from events import CATALOGUE, BadEvent, Event, from_cloudevent
from events.cloudevent import from_structured
from shared.domain.errors import Refused, Unanswered, Unavailable
from shared.observability.log import log
from shared.ports.clock import Clock, Ids
from shared.ports.event_sink import EventSink
from shared.ports.outbox import Acceptance
from shared.ports.tables import Put, Row, Table, Tables, Type, Value
from shared.repositories.outbox_schema import OUTBOX, OUTBOX_SWEPT
from shared.repositories.schema import PLATFORM
from shared.repositories.tenants import Tenants
from shared.ticks import AT_ONCE, DAY, HOUR, LONG, LookBack, Tick

SHARDS = 4
KEPT = timedelta(days=7)
_LOOK_BACK = 15  # minutes before what is swept that are looked at again: clocks that are behind
_MINUTES_AT_ONCE = 3000  # that one sweep of a shard goes through, a day back and a day ahead: the first may have a week
_MINUTES_TOGETHER = 32  # that are read at the same time: nearly all are empty
_PAGE = 100
_TENANTS = 1000  # that are looked through for the oldest; whoever has more has swept before

_PYTHON_TYPE = {Type.TEXT: str, Type.INT: int, Type.BOOL: bool, Type.BYTES: bytes, Type.TIME: datetime}


class _StoredPut(msgspec.Struct):
    table: str
    row: dict[str, Any]
    ttl: int | None = None


class TablesOutbox:
    """The Outbox port. Claims are rows that nobody changes as long as entries are kept."""

    def __init__(self, tables: Tables, sink: EventSink, clock: Clock, ids: Ids) -> None:
        self._tables = tables
        self._sink = sink
        self._clock = clock
        self._ids = ids

    def over(self, tables: Tables, sink: EventSink) -> "TablesOutbox":
        """The same over others, which stand before its own."""
        return TablesOutbox(tables, sink, self._clock, self._ids)

    async def commit(self, acceptance: Acceptance) -> list[Row]:
        entry = self._entry(acceptance)
        await self._tables.put(Put(OUTBOX, entry, ttl=int(KEPT.total_seconds())), *acceptance.leads)
        try:
            in_the_way = await self._tables.put_if_absent(acceptance.table, *acceptance.claims)
        except Unanswered as lost:
            in_the_way = await self._look(acceptance, lost)
        except Unavailable:
            await self._forget(entry)
            raise
        if not in_the_way:
            try:
                await self._tables.put(*acceptance.puts)
                await self._sink.emit(*acceptance.events)
            except (Unavailable, Refused):
                return []  # the entry stands, and the sweeper does the rest
        await self._forget(entry)
        return in_the_way

    async def _forget(self, entry: Row) -> None:
        with suppress(Unavailable):  # left behind, it costs the sweeper a look
            await self._tables.delete(OUTBOX, _key(entry))

    async def _look(self, acceptance: Acceptance, lost: Unanswered) -> list[Row]:
        """
        What became of claims without an answer. If nothing stands there they may still be on their way, so they are
        written again: whichever of the two lands first, the other is refused by it.
        """
        table, claims = acceptance.table, acceptance.claims
        found: Sequence[Row | None]
        try:
            found = await _standing(self._tables, table, claims)
            if not any(found):
                found = await self._tables.put_if_absent(table, *claims)
        except Unavailable:
            raise lost from None
        in_the_way = [row for row in found if row is not None]
        return [] if _are_ours(table, claims, in_the_way) else in_the_way

    def _entry(self, acceptance: Acceptance) -> Row:
        entry_id, now = self._ids.uuid(), self._clock.now()
        return {
            "tenant": PLATFORM,
            "minute": _minute(now),
            "shard": crc32(entry_id.encode()) % SHARDS,
            "entry_id": entry_id,
            "owner": acceptance.claims[0][next(iter(acceptance.table.partition))],
            "table": acceptance.table.name,
            "claims": msgspec.json.encode(acceptance.claims),
            "puts": msgspec.json.encode(
                [_StoredPut(put.table.name, dict(put.row), put.ttl) for put in acceptance.puts]
            ),
            "events": orjson.dumps(
                [orjson.Fragment(event.to_cloudevent().to_structured()) for event in acceptance.events]
            ),
            "created_at": now,
        }


@dataclass(frozen=True, slots=True)
class _Promise:
    table: Table
    claims: list[Row]
    puts: list[Put]
    events: list[Event[Any]]


class OutboxSweeper:
    """Finishes what senders left behind. Any number may run at the same time: they repeat each other."""

    def __init__(self, tables: Tables, sink: EventSink, clock: Clock, schema: Iterable[Table]) -> None:
        self._tables = tables
        self._sink = sink
        self._clock = clock
        self._schema = {table.name: table for table in schema}
        self._look_backs = [LookBack(DAY, every=HOUR) for _ in range(SHARDS)]

    async def sweep(self, older_than: timedelta = timedelta(seconds=30)) -> int:
        """
        Settle entries that are older than ``older_than`` (and up to a minute more); how many were looked at.

        What it has no time for is there for the next sweep.

        Raises:
            Unavailable: the store or the broker cannot be reached; nothing is lost, sweep again.
        """
        tick, last = Tick(self._clock), _minute(self._clock.now() - older_than) - 1
        looked_at = await tick.each(range(SHARDS), lambda shard: self._sweep_shard(tick, shard, last))
        tick.end()
        return sum(looked_at)

    async def _sweep_shard(self, tick: Tick, shard: int, last: int) -> int:
        swept: Mapping[str, Any] | None = await self._tables.get(OUTBOX_SWEPT, (PLATFORM, shard))
        oldest = last - KEPT // timedelta(minutes=1)
        if swept:
            mark = min(swept["minute"], last)  # it may have been set by a clock that was ahead
        else:
            mark = await self._beginning(oldest, last)
            oldest = max(oldest, mark - _LOOK_BACK)
        look_back = self._look_backs[shard]
        first = max(oldest, look_back.first(mark - _LOOK_BACK, last))
        last = min(last, first + _MINUTES_AT_ONCE)
        looked_at, left = 0, 0
        for start in range(first, last + 1, _MINUTES_TOGETHER):
            if not tick.goes_on:
                return looked_at
            minutes = range(start, min(start + _MINUTES_TOGETHER, last + 1))
            entries = await asyncio.gather(*(self._page(minute, shard, limit=1) for minute in minutes))
            for minute in (minute for minute, some in zip(minutes, entries, strict=True) if some):
                async for page in self._pages(minute, shard):
                    settled = len(await tick.each(page, partial(self._settle, tick), at_once=AT_ONCE // SHARDS))
                    looked_at, left = looked_at + settled, left + len(page) - settled
                    if not tick.goes_on:
                        return looked_at
            if not left:  # Again and again: a sweep that is cut off has not been for nothing.
                look_back.reached(minutes[-1])
                if minutes[-1] >= mark:
                    row: Row = {"tenant": PLATFORM, "shard": shard, "minute": minutes[-1]}
                    await self._tables.put(Put(OUTBOX_SWEPT, row))
        return looked_at

    async def _beginning(self, oldest: int, last: int) -> int:
        """
        Where a shard that was never swept begins: nothing was promised before there was a tenant to promise it to.
        A week of empty minutes is 40,000 reads, the first that an installation would have to do.
        """
        tenants = await Tenants(self._tables, self._clock).all(limit=_TENANTS)
        if len(tenants) == _TENANTS:
            return oldest
        return max(oldest, min([last, *(_minute(tenant.created_at) for tenant in tenants)]))

    async def _pages(self, minute: int, shard: int) -> AsyncIterator[list[Row]]:
        """Each entry once: one that failed is not met again."""
        page = await self._page(minute, shard)
        while page:
            yield page
            page = await self._page(minute, shard, after=page[-1]["entry_id"])

    async def _page(self, minute: int, shard: int, *, after: Value = None, limit: int = _PAGE) -> list[Row]:
        return await self._tables.slice(OUTBOX, (PLATFORM, minute, shard), after=after, limit=limit)

    async def _settle(self, tick: Tick, entry: Mapping[str, Any]) -> None:
        try:
            await self._finish(tick, entry)
        except Unavailable:
            now = self._clock.now()
            if entry["minute"] < _minute(now - LONG):
                await self._move(entry, tick.again_at(now))
            raise
        except Exception as error:  # noqa: BLE001  it would fail for ever, and hold up what comes after it
            log.error("an outbox entry cannot be settled", entry_id=entry["entry_id"], exc_info=error)
            await self._put_off(entry)

    async def _finish(self, tick: Tick, entry: Mapping[str, Any]) -> None:
        promise = self._read(entry)
        if promise is None:
            await self._put_off(entry)
            return
        found = await _standing(self._tables, promise.table, promise.claims)
        if _are_ours(promise.table, promise.claims, found):
            await self._tables.put(*promise.puts)
            if promise.events:
                await self._sink.emit(*promise.events)
                tick.handed_over()
        elif all(row is None for row in found):
            await self._put_off(entry)
            return
        await self._tables.delete(OUTBOX, _key(entry))

    async def _put_off(self, entry: Mapping[str, Any]) -> None:
        """By its age, so that it is twice as old then."""
        now = self._clock.now()
        await self._move(entry, now + max(now - entry["created_at"], timedelta(minutes=1)))

    async def _move(self, entry: Mapping[str, Any], at: datetime) -> None:
        """To the minute of ``at``; it is kept no longer than it would have been."""
        rest = KEPT - (self._clock.now() - entry["created_at"])
        if rest > timedelta():
            later = {**entry, "minute": _minute(at)}
            await self._tables.put(Put(OUTBOX, later, ttl=int(rest.total_seconds()) + 1))
        await self._tables.delete(OUTBOX, _key(entry))

    def _read(self, entry: Mapping[str, Any]) -> _Promise | None:
        """What the entry promises; None when it was written by a release of other tables or events."""
        try:
            table = self._schema[entry["table"]]
            puts = msgspec.json.decode(entry["puts"], type=list[_StoredPut])
            events = msgspec.json.decode(entry["events"], type=list[msgspec.Raw])
            return _Promise(
                table,
                [_row(table, row) for row in orjson.loads(entry["claims"])],
                [Put(self._schema[put.table], _row(self._schema[put.table], put.row), put.ttl) for put in puts],
                [from_cloudevent(from_structured(bytes(event)), CATALOGUE) for event in events],
            )
        except (KeyError, msgspec.ValidationError, BadEvent):
            return None


async def _standing(tables: Tables, table: Table, claims: Sequence[Row]) -> list[Row | None]:
    """The rows under the claims' keys now, in their order."""
    return [await tables.get(table, [row[name] for name in table.key], serial=True) for row in claims]


def _are_ours(table: Table, claims: Sequence[Row], found: Sequence[Row | None]) -> bool:
    empty = dict.fromkeys(table.all_columns)
    return [{**empty, **claim} for claim in claims] == list(found)


def _row(table: Table, members: dict[str, Any]) -> Row:
    kinds = table.all_columns
    return {
        name: None if value is None else msgspec.convert(value, _PYTHON_TYPE[kinds[name]])
        for name, value in members.items()
    }


def _key(entry: Row) -> tuple[Value, ...]:
    return tuple(entry[name] for name in OUTBOX.key)


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60
