"""Pages of a conversation's history (A8)."""

import asyncio

import pytest

from events.vocabulary import Text
from shared.domain.message import Draft
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
