"""
The due list: what is to be woken when (design.md 5).

An entry is written before every promise to go on later, and holds the event that wakes. Entries lie in buckets
of a minute, so that nothing scans what is far off; redrive walks the buckets from its cursor to now.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from zlib import crc32

from events import BadEvent, CloudEvent
from events.cloudevent import from_structured
from shared.observability.log import log
from shared.ports.clock import Clock
from shared.ports.tables import Put, Row, Tables, Value
from shared.repositories.schema import CURSORS, DUE, PLATFORM
from shared.ticks import DAY, HOUR, LONG, LookBack, Tick

SHARDS = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARGIN = 2  # minutes that the cursor stays behind: clocks of two writers may differ by as much, and nobody waits
_LOOK_BACK = 30  # minutes that each walker goes back once a minute: clocks that differ by more than they should
_MINUTES_AT_ONCE = 3000  # that one round walks, a day back and a day of a stop: after a longer one it takes several
_MINUTES_TOGETHER = 32  # that are read at the same time: nearly all are empty
_CURSOR = (PLATFORM, "due", "redrive")


@dataclass(frozen=True, slots=True)
class DueEntry:
    at: datetime
    due_id: str
    kind: str
    tenant: str
    wake: CloudEvent


@dataclass(frozen=True, slots=True)
class Round:
    """Each entry that is due and lies before ``next_minute`` is among ``entries``, was woken before, or is put off."""

    entries: list[DueEntry]
    next_minute: int
    more: bool
    """There may be entries that the limit left out."""


class DueList:
    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock
        self._look_backs = LookBack(_LOOK_BACK, every=1), LookBack(DAY, every=HOUR)

    async def add(self, tenant: str, due_id: str, at: datetime, wake: CloudEvent, *, kind: str) -> datetime:
        """
        Have ``wake`` handed over at ``at`` or soon after; the same id and time is one entry.

        Returns: the time that the entry is kept under; ``remove`` takes it.
        """
        at = max(at, self._clock.now())
        await self._tables.put(
            Put(
                DUE,
                {
                    "tenant": PLATFORM,
                    "minute": _minute(at),
                    "shard": crc32(due_id.encode()) % SHARDS,
                    "at": at,
                    "due_id": due_id,
                    "kind": kind,
                    "owner": tenant,
                    "wake": wake.to_structured(),
                },
            )
        )
        return at

    async def remove(self, due_id: str, at: datetime) -> None:
        """The promise is kept, or was not needed."""
        await self._tables.delete(DUE, _key(due_id, at))

    async def due(self, limit: int, tick: Tick) -> Round:
        """
        Entries whose time has come, oldest first, at most ``limit``, as far as ``tick`` has time to look. Those that
        cannot be read are put off.
        """
        now = self._clock.now()
        found: list[DueEntry] = []
        usual = min(await self._cursor(), _minute(now) - _MARGIN)  # one whose clock is ahead may have moved it
        first = min(look_back.first(usual, _minute(now)) for look_back in self._look_backs)
        after_last = min(_minute(now), first + _MINUTES_AT_ONCE) + 1
        for start in range(first, after_last, _MINUTES_TOGETHER):
            if not tick.goes_on:
                return Round(found, start, more=False)
            async for minute, shard in self._not_empty(range(start, min(start + _MINUTES_TOGETHER, after_last)), now):
                if not tick.goes_on:  # there may be something in each bucket, and they are read one by one
                    return Round(found, minute, more=False)
                room = limit - len(found)
                rows = await self._tables.slice(DUE, (PLATFORM, minute, shard), until=now, limit=room)
                for row in rows:
                    entry = _entry(row)
                    if entry is None:
                        await self._put_off(row)
                    else:
                        found.append(entry)
                if len(rows) == room:
                    return Round(found, minute, more=True)
        return Round(found, after_last, more=False)

    async def _not_empty(self, minutes: range, now: datetime) -> AsyncIterator[tuple[int, int]]:
        """The buckets, oldest first, in which something is due."""
        buckets = [(minute, shard) for minute in minutes for shard in range(SHARDS)]
        looks = (self._tables.slice(DUE, (PLATFORM, *bucket), until=now, limit=1) for bucket in buckets)
        for bucket, some in zip(buckets, await asyncio.gather(*looks), strict=True):
            if some:
                yield bucket

    async def done(self, *woken: DueEntry) -> None:
        await self._tables.delete(DUE, *(_key(entry.due_id, entry.at) for entry in woken))

    async def put_off(self, *entries: DueEntry, until: datetime) -> None:
        for entry in entries:
            await self.add(entry.tenant, entry.due_id, until, entry.wake, kind=entry.kind)
        await self.done(*entries)

    async def _put_off(self, row: Row) -> None:
        """As it stands: nobody can read it now."""
        at = self._clock.now() + LONG
        await self._tables.put(Put(DUE, {**row, "minute": _minute(at), "at": at}))
        await self._tables.delete(DUE, tuple(row[name] for name in DUE.key))

    async def passed(self, round_: Round, left: Iterable[DueEntry] = ()) -> None:
        """All entries of the round but those ``left`` are done; the next one starts at the oldest of these."""
        now = _minute(self._clock.now())
        minute = min([round_.next_minute, now - _MARGIN, *(_minute(entry.at) for entry in left)])
        for look_back in self._look_backs:
            look_back.reached(minute)
        row: Row = {"tenant": PLATFORM, "conversation_id": "due", "reader": "redrive", "seq": minute}
        known = await self._tables.get(CURSORS, _CURSOR)
        # What is in the future was set by a clock that is wrong.
        if known is None or not minute <= int(str(known["seq"])) <= now:
            await self._tables.put(Put(CURSORS, row))

    async def _cursor(self) -> int:
        row = await self._tables.get(CURSORS, _CURSOR)
        if row is None:  # nobody has ever walked: whatever the first process promised before it died is still there
            return _minute(self._clock.now()) - DAY
        return int(str(row["seq"]))


def _entry(row: Row) -> DueEntry | None:
    """None when it cannot be read: the others must be woken nevertheless."""
    at, wake = row["at"], row["wake"]
    assert isinstance(at, datetime) and isinstance(wake, bytes)
    try:
        event = from_structured(wake)
    except BadEvent as error:
        log.error("a due entry cannot be read", due_id=row["due_id"], kind=row["kind"], why=str(error))
        return None
    return DueEntry(at, str(row["due_id"]), str(row["kind"]), str(row["owner"]), event)


def _key(due_id: str, at: datetime) -> tuple[Value, ...]:
    return PLATFORM, _minute(at), crc32(due_id.encode()) % SHARDS, at, due_id


def _minute(at: datetime) -> int:
    return int((at - _EPOCH).total_seconds() // 60)
