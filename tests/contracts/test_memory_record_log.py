"""The log in memory keeps what the trigger runner is promised (E1)."""

import pytest

from shared.adapters.memory.record_log import MemoryRecordLog
from shared.testing.contracts.record_log import RecordLogContract


class TestMemoryRecordLog(RecordLogContract):
    @pytest.fixture
    def log(self) -> MemoryRecordLog:
        return MemoryRecordLog()
