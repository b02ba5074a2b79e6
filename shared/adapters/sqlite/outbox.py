"""
The outbox of the embedded mode: claims, rows and log records in one transaction, on disk before it returns.

The log record is the outbox (design.md 4): there is no moment at which a message is stored and its event is not.
"""

import sqlite3

from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.adapters.sqlite.tables import SqliteTables
from shared.ports.event_log import LoggedEvent
from shared.ports.outbox import Acceptance
from shared.ports.tables import Row


class SqliteOutbox:
    def __init__(self, database: Database, tables: SqliteTables, log: SqliteEventLog) -> None:
        self._database = database
        self._tables = tables
        self._log = log

    async def commit(self, acceptance: Acceptance) -> list[Row]:
        claim = self._tables.inserting(acceptance.table, acceptance.claims)
        put = self._tables.putting([*acceptance.leads, *acceptance.puts])
        append = self._log.appending([event.to_cloudevent() for event in acceptance.events])

        def work(connection: sqlite3.Connection) -> tuple[list[Row], list[LoggedEvent]]:
            in_the_way = claim(connection)
            if in_the_way:
                return in_the_way, []
            put(connection)
            return [], append(connection)

        in_the_way, _ = await self._database.write(
            work, durable=True, committed=lambda done: self._log.publish(done[1])
        )
        return in_the_way
