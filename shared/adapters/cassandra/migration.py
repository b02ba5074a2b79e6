"""
Keyspace and tables are made once, by whichever process comes first, under a lock in Cassandra itself.

Two nodes that create the same table at the same time give it two ids, and what was written under one of them is
lost. Hence the lock, a lease that is taken by compare-and-set; its own table has a fixed id, so that racing to
create it does no harm. Every process looks first, and where all is there it takes nothing and waits for nobody.
"""

import logging
import time
from collections.abc import Sequence
from secrets import token_hex
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from shared.adapters.cassandra.schema import READ_COLUMNS, columns_found, create_keyspace, missing
from shared.domain.errors import Unavailable
from shared.ports.tables import Table

LOCK = "schema_lock"
_LEASE = 60  # seconds
_PATIENCE = 180.0  # seconds, for another process to finish: a cluster takes about a second for a table
_TIMEOUT = 30.0  # seconds for one statement
_POLL = 0.25  # seconds

_log = logging.getLogger(__name__)


class Migration:
    """Blocks; it is for a thread. ``session`` is the driver's."""

    def __init__(self, session: Any, keyspace: str, replication_factor: int, tables: Sequence[Table]) -> None:
        self._session = session
        self._keyspace = keyspace
        self._replication_factor = replication_factor
        self._tables = tables
        self._lock = f'"{keyspace}"."{LOCK}"'
        self._holder = token_hex(8)
        self._coordinator = _coordinator(session)

    def run(self) -> None:
        """
        Raises:
            SchemaMismatch: a table is there with another key, or a column with another type, than is declared.
            Unavailable: another process has been at it for minutes.
        """
        if not self._missing():
            return
        self._execute(create_keyspace(self._keyspace, self._replication_factor))
        self._execute(
            f"CREATE TABLE IF NOT EXISTS {self._lock} (name text PRIMARY KEY, holder text)"
            f" WITH id = {uuid5(NAMESPACE_URL, f'chat4all/{self._keyspace}/{LOCK}')}"
        )
        give_up = time.monotonic() + _PATIENCE
        while self._missing():
            if self._acquire():
                try:
                    self._make()
                    self._session.cluster.control_connection.wait_for_schema_agreement(wait_time=_LEASE)
                finally:
                    self._release()
            elif time.monotonic() > give_up:
                raise Unavailable(f"another process has been making the tables of {self._keyspace} for too long")
            else:
                time.sleep(_POLL)

    def _make(self) -> None:
        for statement in self._missing():
            if not self._renew():
                return  # somebody else has the lock: look again
            self._execute(statement)
            _log.info("schema changed", extra={"statement": statement})

    def _missing(self) -> list[str]:
        found = columns_found(self._execute(READ_COLUMNS, (self._keyspace,)))
        return missing(self._keyspace, self._tables, found)

    def _acquire(self) -> bool:
        insert = f"INSERT INTO {self._lock} (name, holder) VALUES ('schema', %s) IF NOT EXISTS USING TTL {_LEASE}"
        return self._applied(insert, (self._holder,))

    def _renew(self) -> bool:
        update = f"UPDATE {self._lock} USING TTL {_LEASE} SET holder = %s WHERE name = 'schema' IF holder = %s"
        return self._applied(update, (self._holder, self._holder))

    def _release(self) -> None:
        self._applied(f"DELETE FROM {self._lock} WHERE name = 'schema' IF holder = %s", (self._holder,))

    def _execute(self, cql: str, values: tuple[str, ...] = ()) -> Any:
        """By the node that is asked whether all agree: another might not have heard of what was done yet."""
        return self._session.execute(cql, values, timeout=_TIMEOUT, host=self._coordinator)

    def _applied(self, cql: str, values: tuple[str, ...]) -> bool:
        return bool(self._execute(cql, values).one()[0])


def _coordinator(session: Any) -> Any:
    give_up = time.monotonic() + _TIMEOUT
    while time.monotonic() < give_up:
        host = session.cluster.get_control_connection_host()
        if host in session.get_pool_state():  # connections are made in the background
            return host
        time.sleep(_POLL / 10)
    raise Unavailable("the node that holds the control connection takes no other")
