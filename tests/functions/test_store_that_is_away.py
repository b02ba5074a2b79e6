"""An object store that does not answer costs nobody a place among their open uploads (B1, issue 6)."""

from dataclasses import replace

import pytest

from events import FileInitiateRequested
from functions.initiate_upload.func import new
from shared.domain.conversation import Conversation
from shared.domain.errors import Unavailable
from shared.domain.file import OPEN_PER_USER
from shared.repositories.conversations import Conversations
from shared.testing.memory_ports import open_memory


class Away:
    async def create(self, *_, **__):
        raise Unavailable("the object store does not answer")


async def test_asking_again_and_again_while_the_store_is_away_takes_no_place():
    async with open_memory({}) as ports:
        conversation = Conversation(
            conversation_id="c1", type="private", created_at=ports.clock.now(), created_by="ana", metadata={}
        )
        await Conversations(ports.tables, ports.clock).create("acme", conversation, ("ana", "bruno"))
        asked = FileInitiateRequested(conversation_id="c1", filename="a.bin", content_type="a/b", size=1, sender="ana")
        away = new(replace(ports, objects=Away()))
        for _ in range(OPEN_PER_USER + 1):
            with pytest.raises(Unavailable):
                await away.initiate("acme", asked)
        assert (await new(ports).initiate("acme", asked)).presigned
