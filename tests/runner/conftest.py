"""Runners on a clock that jumps, over both kinds of log."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from shared.adapters.memory.record_log import MemoryRecordLog
from shared.testing.grouped_log import GroupedLog
from shared.testing.virtual_loop import VirtualLoop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], Any]]:
    return {"virtual": VirtualLoop}


@pytest.fixture(params=[MemoryRecordLog, GroupedLog], ids=["one-log", "partitions"])
def log(request: pytest.FixtureRequest) -> MemoryRecordLog:
    """Both runners behave as the observed broker."""
    made: MemoryRecordLog = request.param()
    return made
