"""What every Clock and every Ids must do (shared.ports.clock)."""

from datetime import timedelta
from uuid import UUID

import pytest

from shared.ports.clock import Clock, Ids


class ClockContract:
    @pytest.fixture
    def clock(self) -> Clock:
        raise NotImplementedError("say how to make a Clock")

    def test_now_is_aware_utc_in_whole_milliseconds(self, clock: Clock) -> None:
        for _ in range(100):
            now = clock.now()
            assert now.utcoffset() == timedelta(0)
            assert now.microsecond % 1000 == 0


class IdsContract:
    @pytest.fixture
    def ids(self) -> Ids:
        raise NotImplementedError("say how to make an Ids")

    def test_ids_are_uuids_in_lower_case_and_never_twice_the_same(self, ids: Ids) -> None:
        drawn = [ids.uuid() for _ in range(1000)]
        assert [str(UUID(one)) for one in drawn] == drawn
        assert len(set(drawn)) == 1000
