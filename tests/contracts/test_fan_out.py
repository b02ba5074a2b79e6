"""The FanOut contract over every way we reach open sockets (A8)."""

import pytest

from shared.adapters.memory.fan_out import MemoryFanOut
from shared.testing import real_engines
from shared.testing.contracts.fan_out import FanOutContract


class TestMemory(FanOutContract):
    capacity = 20

    @pytest.fixture
    async def fan_out(self):
        yield MemoryFanOut(capacity=self.capacity)


@pytest.mark.real("nats")
class TestNats(FanOutContract):
    capacity = 20

    @pytest.fixture
    async def fan_out(self):
        async with real_engines.nats_fan_out(capacity=self.capacity) as fan_out:
            yield fan_out
