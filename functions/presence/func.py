"""
presence: who is there, who is writing, and who has gone without a word (A14).

Takes HTTP (http.py), and chat4all.timer.ticked.v1 with the name "presence": users not seen for 30 s are offline;
emits chat4all.presence.changed.v1. Typing is told to who listens now and is no event.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from events import Event, EventData, TimerTicked
from events.vocabulary import PresenceStatus
from shared.domain.errors import Invalid, NotFound
from shared.domain.presence import Standing
from shared.observability import metrics
from shared.ports import Ports
from shared.repositories.conversations import Conversations
from shared.repositories.presence import Presence
from shared.repositories.typing_notices import Typing
from shared.repositories.users import Users
from shared.ticks import OneAtATime


@dataclass(frozen=True, slots=True)
class WhoIsThere:
    accepts: ClassVar[tuple[type[EventData], ...]] = (TimerTicked,)

    users: Users
    conversations: Conversations
    presence: Presence
    typing: Typing
    one_at_a_time: OneAtATime = field(default_factory=OneAtATime)

    async def handle(self, event: Event[TimerTicked]) -> None:
        await self.one_at_a_time(self._expire)

    async def _expire(self) -> None:
        metrics.users_went_silent(await self.presence.expire())

    async def heartbeat(
        self, tenant: str, user_id: str, device: str, status: PresenceStatus, traceparent: str | None
    ) -> Standing:
        """
        Raises:
            Invalid: there is no such user.
        """
        if not await self.users.exists(tenant, user_id):
            raise Invalid(errors=[{"pointer": "/user_id", "detail": f"there is no user {user_id!r}"}])
        return await self.presence.heartbeat(tenant, user_id, device, status, traceparent)

    async def of(self, tenant: str, user_id: str, reader: str | None) -> Standing:
        """
        Args:
            reader: who asks; None for a client that asks for its tenant.

        Raises:
            NotFound: no such user, or nobody that ``reader`` shares a conversation with.
        """
        known = await self.users.exists(tenant, user_id)
        if known and reader not in (None, user_id):
            known = await self.conversations.share(tenant, str(reader), user_id)
        if not known:
            raise NotFound(f"there is no user {user_id!r} here")
        return await self.presence.of(tenant, user_id)


def new(ports: Ports) -> WhoIsThere:
    conversations = Conversations(ports.tables, ports.clock)
    return WhoIsThere(
        users=Users(ports.tables, ports.clock),
        conversations=conversations,
        presence=Presence(ports.tables, ports.sink, ports.clock),
        typing=Typing(conversations, ports.fan_out, ports.cache, ports.clock),
    )
