"""The fake outbox of a store with transactions keeps the contract, so what is proven over it holds for SQLite's."""

import asyncio

import pytest

from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import MemoryTables
from shared.testing.atomic_outbox import AtomicOutbox
from shared.testing.contracts.outbox import House, OutboxContract


class TestAtomicOutbox(OutboxContract):
    @pytest.fixture
    async def house(self):
        log = MemoryRecordLog()
        tables = MemoryTables(SettableClock(), checkpoint=lambda: asyncio.sleep(0))

        async def emitted():
            return [record.event for record in log.records]

        yield House(AtomicOutbox(tables, log), tables, emitted)
