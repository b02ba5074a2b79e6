"""The embedded mode's sweeper. The log record is the outbox here, so nothing is ever left half done."""

from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.adapters.sqlite.tables import SqliteTables


class SqliteSweeper:
    def __init__(self, tables: SqliteTables, log: SqliteEventLog, *, keep_events: int) -> None:
        self._tables = tables
        self._log = log
        self._keep = keep_events

    async def sweep(self) -> int:
        return await self._tables.purge() + await self._log.trim(self._keep)
