"""The outbox of a store that has transactions, in memory: claims, rows and events at once, as in SQLite."""

from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Fault, MemoryTables
from shared.domain.errors import Unanswered, Unavailable
from shared.ports.outbox import Acceptance
from shared.ports.tables import Row


class AtomicOutbox:
    """The Outbox port; ``tables`` are asked for checkpoints and faults, once for the whole."""

    def __init__(self, tables: MemoryTables, log: MemoryRecordLog) -> None:
        self._tables = tables
        self._log = log

    async def commit(self, acceptance: Acceptance) -> list[Row]:
        await self._tables.checkpoint()
        fault = self._tables.fault("commit", acceptance.table)
        if fault is Fault.UNREACHED:
            raise Unavailable("the transaction did not reach the store")
        if fault is Fault.SWALLOWED:
            raise Unanswered("the transaction got no answer")
        in_the_way = await self._at_once(acceptance)
        await self._tables.checkpoint()
        if fault is Fault.LOST_ANSWER:
            raise Unanswered("the answer to the transaction was lost")
        return in_the_way

    async def _at_once(self, acceptance: Acceptance) -> list[Row]:
        """Nothing here stops, so nobody comes between."""
        tables = self._tables.quiet()
        in_the_way = await tables.put_if_absent(acceptance.table, *acceptance.claims)
        if not in_the_way:
            await tables.put(*acceptance.leads, *acceptance.puts)
            await self._log.emit(*acceptance.events)
        return in_the_way
