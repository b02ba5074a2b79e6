"""The contract of ConsumerGroups on a real Kafka (E1, E6)."""

import pytest

from shared.adapters.kafka.consumer import KafkaConsumerGroups
from shared.adapters.kafka.event_sink import KafkaEventSink
from shared.testing import real_engines
from shared.testing.contracts.consumer_groups import ConsumerGroupsContract

pytestmark = pytest.mark.real("kafka")


class TestKafkaConsumerGroups(ConsumerGroupsContract):
    @pytest.fixture
    async def topic(self):
        async with real_engines.kafka_topic(partitions=4) as name:
            yield name

    @pytest.fixture
    def groups(self, topic):
        return KafkaConsumerGroups(real_engines.kafka_cluster(), topic, prefix=f"{topic}-")

    @pytest.fixture
    async def publish(self, topic):
        sink = KafkaEventSink(real_engines.kafka_cluster(), topic)
        yield sink.append
        await sink.close()
