"""
The due list: what is to be woken when (design.md 5).

An entry is written before every promise to go on later, and holds the event that wakes. Entries lie in buckets
of a minute, so that nothing scans what is far off; redrive walks the buckets from its cursor to now.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zlib import crc32

from events import BadEvent, CloudEvent
from events.cloudevent import from_structured
from shared.observability.log import log
from shared.ports.clock import Clock
from shared.ports.tables import Put, Row, Tables, Value
from shared.repositories.schema import CURSORS, DUE, PLATFORM

SHARDS = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARGIN = 2  # minutes that the cursor stays behind: clocks of two writers may differ by as much, and nobody waits
_LOOK_BACK = 30  # minutes that each walker goes back once a minute: clocks that differ by more than they should
_MINUTES_AT_ONCE = 1500  # that one round walks: after a long stop it takes several
_FIRST_LOOK_BACK = timedelta(days=1)
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
    """Every entry that is due and lies before ``next_minute`` is among ``entries`` or has been woken before."""

    entries: list[DueEntry]
    next_minute: int
    more: bool
    """There may be entries that the limit left out."""


class DueList:
    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock
        self._looked_back = 0
        """The minute in which this walker last went far back; lost with the process, it looks once more."""

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

    async def due(self, limit: int) -> Round:
        """Entries whose time has come, oldest first, at most ``limit``."""
        now = self._clock.now()
        found: list[DueEntry] = []
        first = min(await self._cursor(), _minute(now) - _MARGIN)  # one whose clock is ahead may have moved it
        if self._looked_back != _minute(now):
            first = min(first, _minute(now) - _LOOK_BACK)
            self._looked_back = _minute(now)
        after_last = min(_minute(now), first + _MINUTES_AT_ONCE) + 1
        for minute in range(first, after_last):
            for shard in range(SHARDS):
                room = limit - len(found)
                rows = await self._tables.slice(DUE, (PLATFORM, minute, shard), until=now, limit=room)
                found += [entry for row in rows if (entry := _entry(row)) is not None]
                if len(rows) == room:
                    return Round(found, minute, more=bool(found))  # of nothing but unreadable ones there is no more
        return Round(found, after_last, more=False)

    async def done(self, *woken: DueEntry) -> None:
        await self._tables.delete(DUE, *(_key(entry.due_id, entry.at) for entry in woken))

    async def passed(self, round_: Round) -> None:
        """All entries of the round are done, and the next one starts where it ended."""
        minute = min(round_.next_minute, _minute(self._clock.now()) - _MARGIN)
        row: Row = {"tenant": PLATFORM, "conversation_id": "due", "reader": "redrive", "seq": minute}
        known = await self._tables.get(CURSORS, _CURSOR)
        if known is None or minute > int(str(known["seq"])):
            await self._tables.put(Put(CURSORS, row))

    async def _cursor(self) -> int:
        row = await self._tables.get(CURSORS, _CURSOR)
        if row is None:  # nobody has ever walked: whatever the first process promised before it died is still there
            return _minute(self._clock.now() - _FIRST_LOOK_BACK)
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
