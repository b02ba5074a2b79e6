"""A conversation as this process hears it, for all its sockets at once."""

import asyncio

from functions.realtime.outgoing import Outgoing
from functions.realtime.session import Session
from shared.domain.sequencer import Sequencer


class Feed:
    """
    Everybody in ``audience`` has been sent everything up to ``line.position``, and nothing beyond it.

    So a message is put in order once, not for each socket, and who joins does so at a moment when they have just
    that. ``holders`` counts those who are on their way in.
    """

    __slots__ = (
        "audience",
        "conversation_id",
        "heard_since",
        "holders",
        "line",
        "looked",
        "mending",
        "opening",
        "subject",
        "tenant",
    )

    def __init__(self, tenant: str, conversation_id: str, subject: str) -> None:
        self.tenant, self.conversation_id, self.subject = tenant, conversation_id, subject
        self.line: Sequencer[Outgoing] = Sequencer()
        self.audience: set[Session] = set()
        self.holders = 0
        self.opening: asyncio.Task[None] | None = None
        self.mending = False
        self.looked = 0
        self.heard_since = 0

    @property
    def position(self) -> int:
        assert self.line.position is not None, "not opened yet"
        return self.line.position
