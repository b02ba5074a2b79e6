"""The Clock and Ids contracts (design.md 12)."""

from datetime import timedelta

import pytest

from shared.adapters.local.clock import RandomIds, SystemClock
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.ids import CountedIds
from shared.testing.contracts.clock import ClockContract, IdsContract


class TestSystemClock(ClockContract):
    @pytest.fixture
    def clock(self):
        return SystemClock()


class TestSettableClock(ClockContract):
    @pytest.fixture
    def clock(self):
        return SettableClock()

    def test_it_goes_when_told_and_never_back(self, clock):
        start = clock.now()
        assert clock.now() == start
        clock.advance(1.5)
        clock.advance(timedelta(milliseconds=2))
        assert clock.now() - start == timedelta(milliseconds=1502)
        with pytest.raises(ValueError, match="back"):
            clock.advance(-1)


class TestRandomIds(IdsContract):
    @pytest.fixture
    def ids(self):
        return RandomIds()


class TestCountedIds(IdsContract):
    @pytest.fixture
    def ids(self):
        return CountedIds("seed")

    def test_the_same_seed_gives_the_same_ids(self):
        one, same, other = CountedIds("a"), CountedIds("a"), CountedIds("b")
        assert [one.uuid() for _ in range(5)] == [same.uuid() for _ in range(5)]
        assert one.uuid() != other.uuid()
