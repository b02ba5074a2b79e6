"""
The durable event log on SQLite: EventSink, EventLog and RecordLog of the embedded mode.

Offsets grow in the order of the commits. The newest events are kept in memory too, so that a consumer that
keeps up never reads the disk.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from events import CloudEvent, Event
from shared.adapters.sqlite.database import Database
from shared.domain.errors import Unavailable
from shared.ports.event_log import LOOK_BACK, LoggedEvent

_TAIL = 4096  # newest events kept in memory, at least; at most twice as many
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS event_log (position INTEGER PRIMARY KEY, attributes BLOB NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS consumer_groups"
    " (name TEXT PRIMARY KEY, position INTEGER NOT NULL, moved_at INTEGER NOT NULL) WITHOUT ROWID",
)
_INSERT = "INSERT INTO event_log (attributes, data) VALUES (?, ?)"
_COLUMNS = "position, attributes, data"
_NAMING = "WHERE instr(attributes, CAST(? AS BLOB)) ORDER BY position LIMIT ?"
_OF_TENANT = (
    "WHERE position >= ? AND position < ? AND json_extract(CAST(attributes AS TEXT), '$.tenant') = ?"
    " ORDER BY position DESC LIMIT ?"
)
_COMMIT = (
    "INSERT INTO consumer_groups (name, position, moved_at) VALUES (?, ?, unixepoch())"
    " ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position), moved_at = excluded.moved_at"
)
_FORGOTTEN = 7 * 24 * 3600
"""Seconds after which a group that has not moved holds back nothing: its Trigger was deleted."""


class SqliteEventLog:
    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._path = path
        self._tail: list[LoggedEvent] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._head = database.execute_at_start(_open)

    async def emit(self, *events: Event[Any]) -> None:
        await self.append(*(event.to_cloudevent() for event in events))

    async def append(self, *events: CloudEvent) -> None:
        """Keep events that are on the wire already: replies of functions, replays."""
        if events:
            await self._database.write(self.appending(events), committed=self.publish)

    def appending(self, events: Sequence[CloudEvent]) -> Callable[[sqlite3.Connection], list[LoggedEvent]]:
        """The work that appends ``events``; its result belongs to ``publish`` once it is committed."""
        encoded = [(event, orjson.dumps(event.attributes), event.data) for event in events]

        def work(connection: sqlite3.Connection) -> list[LoggedEvent]:
            execute = connection.execute
            return [
                LoggedEvent(execute(_INSERT, (attributes, data)).lastrowid or 0, event)
                for event, attributes, data in encoded
            ]

        return work

    def publish(self, logged: Sequence[LoggedEvent]) -> None:
        """Show committed events to those who read; called in the order of the commits."""
        if not logged:
            return
        if logged[0].offset != self._head + 1:
            # Somebody else wrote to the file. What they wrote is read from there; the tail must have no gap.
            self._tail.clear()
        self._tail.extend(logged)
        self._head = logged[-1].offset
        if len(self._tail) > 2 * _TAIL:
            del self._tail[:-_TAIL]
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def read(self, *, after: int, limit: int, wait: float = 0) -> Sequence[LoggedEvent]:
        if after >= self._head and wait > 0:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await asyncio.wait((waiter,), timeout=wait)
            waiter.cancel()
        if after >= self._head:
            return []
        tail = self._tail
        if tail and after >= tail[0].offset - 1:
            # Offsets have no gaps here: the rows of a rolled back transaction give theirs back.
            start = after - tail[0].offset + 1
            return tail[start : start + limit]
        return self._select("WHERE position > ? ORDER BY position LIMIT ?", (after, limit))

    async def latest(
        self, limit: int, *, before: int | None = None, tenant: str | None = None
    ) -> Sequence[LoggedEvent]:
        end = self._head + 1 if before is None else before
        if tenant is None:
            return self._select("WHERE position < ? ORDER BY position DESC LIMIT ?", (end, limit))[::-1]
        return (await self._search(_OF_TENANT, (end - LOOK_BACK, end, tenant, limit)))[::-1]

    async def of_trace(self, trace_id: str, *, limit: int) -> Sequence[LoggedEvent]:
        return await self._search(_NAMING, (trace_id, limit))

    async def about(self, message_id: str, *, limit: int) -> Sequence[LoggedEvent]:
        return await self._search(_NAMING, (message_id, limit))

    async def head(self) -> int:
        return self._head

    async def committed(self, group: str) -> int | None:
        rows = self._database.read("SELECT position FROM consumer_groups WHERE name = ?", (group,))
        return int(rows[0][0]) if rows else None

    async def commit(self, group: str, offset: int) -> None:
        await self._database.write(lambda connection: connection.execute(_COMMIT, (group, offset)))

    async def trim(self, keep: int, *, limit: int = 20_000) -> int:
        """
        Remove the oldest events beyond the newest ``keep``, at most ``limit`` of them; how many went.

        What a living consumer group has not done yet stays, and so does the newest event: offsets are never reused.
        """

        def work(connection: sqlite3.Connection) -> int:
            (done,) = connection.execute(
                "SELECT min(position) FROM consumer_groups WHERE moved_at > unixepoch() - ?", (_FORGOTTEN,)
            ).fetchone()
            (oldest,) = connection.execute("SELECT min(position) FROM event_log").fetchone()
            if oldest is None:
                return 0
            last = min(self._head - max(keep, 1), oldest + limit - 1)
            last = last if done is None else min(last, done)
            return connection.execute("DELETE FROM event_log WHERE position <= ?", (last,)).rowcount

        return await self._database.write(work)

    def _select(self, clause: str, parameters: Sequence[Any]) -> list[LoggedEvent]:
        return [_logged(row) for row in self._database.read(f"SELECT {_COLUMNS} FROM event_log {clause}", parameters)]

    async def _search(self, clause: str, parameters: Sequence[Any]) -> list[LoggedEvent]:
        """A scan of what is kept, on a connection and a thread of its own: people wait, messages do not."""
        sql = f"SELECT {_COLUMNS} FROM event_log {clause}"

        def scan() -> list[LoggedEvent]:
            try:
                connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
                try:
                    return [_logged(row) for row in connection.execute(sql, parameters)]
                finally:
                    connection.close()
            except sqlite3.Error as error:
                raise Unavailable(f"the event log cannot be searched: {error}") from error

        return await asyncio.to_thread(scan)


def _logged(row: tuple[int, bytes, bytes]) -> LoggedEvent:
    position, attributes, data = row
    return LoggedEvent(position, CloudEvent(orjson.loads(attributes), data))


def _open(connection: sqlite3.Connection) -> int:
    for statement in _SCHEMA:
        connection.execute(statement)
    (newest,) = connection.execute("SELECT coalesce(max(position), 0) FROM event_log").fetchone()
    return int(newest)
