"""Pages of a conversation's history (A8), and how much of it is written at once."""

import asyncio

import pytest

from events.vocabulary import Text
from shared.domain.message import Draft
from shared.ports.outbox import Acceptance
from shared.ports.tables import Row
from shared.repositories.timeline import Timeline
from shared.testing.memory_ports import open_memory


@pytest.mark.parametrize("before", [12, 13, 5001, 2**53])
async def test_paging_back_from_beyond_the_end_begins_at_the_newest(before: int) -> None:
    """Found by the demo: a large ``before`` walked through every bucket there could be, for ever."""
    async with open_memory({}) as ports:
        timeline = Timeline(ports.tables, ports.outbox, ports.cache, ports.clock, bucket=5)
        for _ in range(11):
            draft = Draft(
                message_id=str(ports.ids.uuid()), conversation_id="c1", sender="ana", payload=Text(text="Olá")
            )
            await timeline.accept("demo", draft, source="/functions/send", traceparent=None)
        async with asyncio.timeout(5):
            page = await timeline.before("demo", "c1", before, 7)
        assert [message.seq for message in page] == [5, 6, 7, 8, 9, 10, 11]
        assert await timeline.before("demo", "empty", before, 7) == []


async def test_many_long_texts_at_once_are_written_in_several_writes() -> None:
    """Found on Cassandra: a batch of a hundred texts of 30,000 characters was one write that it refused."""
    async with open_memory({}) as ports:
        sizes = []

        class Weighing:
            async def commit(self, acceptance: Acceptance) -> list[Row]:
                sizes.append(sum(len(str(claim)) for claim in acceptance.claims))
                return await ports.outbox.commit(acceptance)

        timeline = Timeline(ports.tables, Weighing(), ports.cache, ports.clock)
        drafts = [
            Draft(message_id=str(ports.ids.uuid()), conversation_id="c1", sender="ana", payload=Text(text="x" * 30_000))
            for _ in range(20)
        ]
        accepted = await asyncio.gather(
            *(timeline.accept("demo", draft, source="/functions/send", traceparent=None) for draft in drafts)
        )
        assert [one.message.seq for one in accepted] == list(range(1, 21))
        assert max(sizes) < 300_000
        assert len(sizes) >= 5
