"""
The sequence protocol on a real Cassandra (A3, A6, A7, E1, E2; design.md 4): processes that share nothing but it
number the messages of one conversation without a gap, and a message that several send at once is one message.
"""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from uuid import UUID

import pytest

from events.vocabulary import Text
from shared.adapters.cassandra.tables import CassandraTables
from shared.adapters.local.clock import RandomIds, SystemClock
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.tables_outbox import SHARDS, OutboxSweeper, TablesOutbox
from shared.domain.errors import Unavailable
from shared.domain.message import Draft
from shared.ports.tables import Put
from shared.repositories.outbox_schema import OUTBOX_SWEPT
from shared.repositories.schema import PLATFORM, TABLES
from shared.repositories.timeline import Timeline
from shared.testing import real_engines

pytestmark = pytest.mark.real("cassandra")

KEYSPACE = "chat4all_sequence"
TENANT, CONVERSATION = "acme", "c1"


def a_draft(number):
    return Draft(
        message_id=str(UUID(int=number)), conversation_id=CONVERSATION, sender="ana", payload=Text(text=f"{number}")
    )


class Sender:
    """A process of its own, as far as anything that is shared goes."""

    def __init__(self, tables):
        self.log = MemoryRecordLog()
        self.tables = tables
        clock = SystemClock()
        self.timeline = Timeline(
            tables, TablesOutbox(tables, self.log, clock, RandomIds()), MemoryCache(), clock, bucket=20
        )

    async def send(self, number):
        """As a client does: again, until there is an answer."""
        while True:
            try:
                return await self.timeline.accept(TENANT, a_draft(number), source="/test", traceparent=None)
            except Unavailable:
                continue


@pytest.fixture
async def senders():
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(real_engines.cassandra_tables(KEYSPACE, TABLES))]
        for _ in range(2):
            tables = await CassandraTables.connect(real_engines.cassandra_settings(KEYSPACE), TABLES)
            stack.push_async_callback(tables.close)
            sessions.append(tables)
        yield [Sender(tables) for tables in sessions]


async def test_three_processes_number_one_conversation_without_gaps_and_in_the_order_of_their_answers(senders):
    async def client(sender, first):
        return [(await sender.send(number)).message.seq for number in range(first, first + 15)]

    clients = [client(sender, 1000 * n + 100 * m) for n, sender in enumerate(senders) for m in range(3)]
    numbers = await asyncio.gather(*clients)
    assert sorted(seq for mine in numbers for seq in mine) == list(range(1, 136))
    assert all(mine == sorted(mine) for mine in numbers), "who waits for an answer sends after it"
    for sender in senders:
        read = await sender.timeline.since(TENANT, CONVERSATION, 0, 200)
        assert [message.seq for message in read] == list(range(1, 136))
    emitted = {record.event.attributes["id"] for sender in senders for record in sender.log.records}
    assert emitted == {message.message_id for message in read}


async def test_a_message_that_all_send_at_the_same_time_is_one_message(senders):
    answers = await asyncio.gather(*(sender.send(number) for number in range(1, 13) for sender in senders))
    assert {answer.message.seq for answer in answers} == set(range(1, 13))
    for n in range(0, 36, 3):
        same = answers[n : n + 3]
        assert same[0].message == same[1].message == same[2].message
        assert sum(not answer.replayed for answer in same) <= 1
    read = await senders[0].timeline.since(TENANT, CONVERSATION, 0, 100)
    assert [message.seq for message in read] == list(range(1, 13))


async def test_the_sweeper_hands_over_what_a_dead_broker_left(senders):
    sender = senders[0]

    class Dead:
        async def emit(self, *events):
            raise Unavailable("the broker is down")

    tables = sender.tables
    clock = SystemClock()
    outbox = TablesOutbox(tables, Dead(), clock, RandomIds())
    timeline = Timeline(tables, outbox, MemoryCache(), clock)
    minute = int(clock.now().timestamp()) // 60 - 1
    await tables.put(
        *(Put(OUTBOX_SWEPT, {"tenant": PLATFORM, "shard": shard, "minute": minute}) for shard in range(SHARDS))
    )
    accepted = await timeline.accept(TENANT, a_draft(1), source="/test", traceparent=None)

    class Later:
        def now(self):
            return clock.now() + timedelta(minutes=3)

    assert await OutboxSweeper(tables, sender.log, Later(), TABLES).sweep() == 1
    assert [record.event.attributes["id"] for record in sender.log.records] == [accepted.message.message_id]
    assert await OutboxSweeper(tables, sender.log, Later(), TABLES).sweep() == 0
