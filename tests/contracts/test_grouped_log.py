"""The log in memory with partitions keeps what the trigger runner is promised (E1, E6)."""

import pytest

from shared.testing.contracts.consumer_groups import ConsumerGroupsContract, Publish
from shared.testing.grouped_log import GroupedLog


class TestGroupedLog(ConsumerGroupsContract):
    @pytest.fixture
    def groups(self) -> GroupedLog:
        return GroupedLog(partitions=4)

    @pytest.fixture
    def publish(self, groups: GroupedLog) -> Publish:
        return groups.append
