"""Who is writing: told to those who listen now, kept nowhere."""

from datetime import timedelta

import msgspec

from events.vocabulary import rfc3339
from shared.domain.errors import NotFound
from shared.domain.frames import TypingFrame, conversation_subject
from shared.ports import Cache, Clock, FanOut
from shared.repositories.conversations import Conversations

EVERY = timedelta(seconds=3)
"""The most often that one user's writing in one conversation is told."""
LASTS = timedelta(seconds=6)
"""How long it is shown without being told again."""


class Typing:
    def __init__(self, conversations: Conversations, fan_out: FanOut, cache: Cache, clock: Clock) -> None:
        self._conversations = conversations
        self._fan_out = fan_out
        self._cache = cache
        self._clock = clock

    async def typed(self, tenant: str, conversation_id: str, user_id: str) -> None:
        """
        The user is writing; what was told less than ``EVERY`` ago is not told again.

        Raises:
            NotFound: no such conversation of this user.
        """
        key = f"{tenant}/typing/{user_id}/{conversation_id}"
        if not await self._cache.replace(key, None, b"1", ttl=EVERY.total_seconds()):
            return
        if not await self._conversations.is_member(tenant, conversation_id, user_id):
            await self._cache.delete(key)
            raise NotFound(f"there is no conversation {conversation_id!r} here")
        until = rfc3339(self._clock.now() + LASTS)
        frame = TypingFrame(conversation_id=conversation_id, user_id=user_id, until=until)
        await self._fan_out.publish(conversation_subject(tenant, conversation_id), msgspec.json.encode(frame))
