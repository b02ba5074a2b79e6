"""The embedded mode's sweeper. The log record is the outbox here, so nothing is ever left half done."""

from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.adapters.sqlite.tables import SqliteTables

_ROWS = 1000  # removed in one transaction
_TURNS = 150  # transactions in one sweep: as much as 5,000 events a second bring in the 30 s between two


class SqliteSweeper:
    def __init__(self, tables: SqliteTables, log: SqliteEventLog, *, keep_events: int) -> None:
        self._tables = tables
        self._log = log
        self._keep = keep_events

    async def sweep(self) -> int:
        done = 0
        for _ in range(_TURNS):
            # Small transactions: what waits for the database meanwhile waits for milliseconds.
            turn = await self._tables.purge(limit=_ROWS) + await self._log.trim(self._keep, limit=_ROWS)
            done += turn
            if turn == 0:
                break
        return done
