"""
The due list: what is to be woken when (design.md 5).

An entry is written before every promise to go on later, and holds the event that wakes. Entries lie in buckets
of a minute, so that nothing scans what is far off; redrive walks the buckets from its cursor to now.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zlib import crc32

from events import CloudEvent
from events.cloudevent import from_structured
from shared.ports.clock import Clock
from shared.ports.tables import Put, Row, Tables
from shared.repositories.schema import CURSORS, DUE, PLATFORM

SHARDS = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARGIN = 2  # minutes that the cursor stays behind: clocks of two writers may differ by as much
_PAGE = 500


@dataclass(frozen=True, slots=True)
class DueEntry:
    at: datetime
    due_id: str
    kind: str
    tenant: str
    wake: CloudEvent


class DueList:
    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    async def add(self, tenant: str, due_id: str, at: datetime, wake: CloudEvent, *, kind: str) -> None:
        """Have ``wake`` handed over at ``at`` or soon after; the same id and time is one entry."""
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

    async def due(self, limit: int) -> list[DueEntry]:
        """Entries whose time has come, at most ``limit``."""
        now = self._clock.now()
        found: list[DueEntry] = []
        for minute in range(await self._cursor(), _minute(now) + 1):
            for shard in range(SHARDS):
                rows = await self._tables.slice(DUE, (PLATFORM, minute, shard), until=now, limit=_PAGE)
                for row in rows:
                    at, wake = row["at"], row["wake"]
                    assert isinstance(at, datetime) and isinstance(wake, bytes)
                    found.append(
                        DueEntry(at, str(row["due_id"]), str(row["kind"]), str(row["owner"]), from_structured(wake))
                    )
                if len(found) >= limit:
                    return found[:limit]
        return found

    async def done(self, entries: list[DueEntry]) -> None:
        """The entries have been woken."""
        for entry in entries:
            shard = crc32(entry.due_id.encode()) % SHARDS
            await self._tables.delete(DUE, (PLATFORM, _minute(entry.at), shard, entry.at, entry.due_id))

    async def caught_up(self) -> None:
        """Everything that was due is woken: the next walk starts here."""
        minute = _minute(self._clock.now()) - _MARGIN
        if minute > await self._cursor():
            row: Row = {"tenant": PLATFORM, "conversation_id": "due", "reader": "redrive", "seq": minute}
            await self._tables.put(Put(CURSORS, row))

    async def _cursor(self) -> int:
        row = await self._tables.get(CURSORS, (PLATFORM, "due", "redrive"))
        if row is None:
            return _minute(self._clock.now() - timedelta(minutes=_MARGIN))
        return int(str(row["seq"]))


def _minute(at: datetime) -> int:
    return int((at - _EPOCH).total_seconds() // 60)
