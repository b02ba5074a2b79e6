"""
realtime: what the holders of open sockets may hear, what they missed, what they acknowledge (A12 to A14).

Takes sockets and HTTP (gateway.py, http.py); emits chat4all.receipt.reported.v1 and, by who comes and goes,
chat4all.presence.changed.v1.
"""

from dataclasses import dataclass
from typing import ClassVar

from events import EventData
from events.vocabulary import ReceiptKind
from functions.realtime.outgoing import Outgoing, of_message
from shared.http.caller import Caller
from shared.http.tickets import Tickets
from shared.ports import Clock, FanOut, Ids, Ports
from shared.repositories.acknowledgements import Acknowledgements
from shared.repositories.clients import Clients
from shared.repositories.conversations import Conversations
from shared.repositories.listeners import Listeners
from shared.repositories.presence import Presence
from shared.repositories.receipts import Receipts
from shared.repositories.timeline import Timeline
from shared.repositories.typing_notices import Typing
from shared.repositories.users import Users

SOURCE = "/functions/realtime"
PAGE = 200
"""Messages that are read at once."""
MEMBERSHIPS = 2000
"""The same of a user's memberships."""


@dataclass(frozen=True, slots=True)
class Realtime:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    clock: Clock
    ids: Ids
    fan_out: FanOut
    clients: Clients
    users: Users
    conversations: Conversations
    timeline: Timeline
    acknowledgements: Acknowledgements
    presence: Presence
    listeners: Listeners
    typing: Typing
    tickets: Tickets

    async def memberships(self, tenant: str, user_id: str) -> list[str]:
        """The conversations that the user is in."""
        found: list[str] = []
        while True:
            after = found[-1] if found else None
            page = await self.conversations.of_user(tenant, user_id, after=after, limit=MEMBERSHIPS)
            found += page
            if len(page) < MEMBERSHIPS:
                return found

    async def head(self, tenant: str, conversation_id: str) -> int:
        return await self.timeline.head(tenant, conversation_id)

    async def cursor(self, tenant: str, conversation_id: str, user_id: str) -> int:
        """What the user has acknowledged."""
        return await self.acknowledgements.cursor(tenant, conversation_id, user_id)

    async def since(self, tenant: str, conversation_id: str, seq: int) -> list[Outgoing]:
        """The frames after ``seq`` as they were pushed, in order, at most PAGE."""
        return [of_message(one) for one in await self.timeline.since(tenant, conversation_id, seq, PAGE)]

    async def acknowledge(self, tenant: str, conversation_id: str, user_id: str, kind: ReceiptKind, seq: int) -> None:
        await self.acknowledgements.up_to(tenant, conversation_id, user_id, kind, seq, None)

    async def stands(self, caller: Caller) -> bool:
        """Whether the client that the token was given to, or by, is what it was then."""
        return await self.clients.epoch(caller.client_id, caller.tenant) == caller.epoch


def new(ports: Ports) -> Realtime:
    conversations = Conversations(ports.tables, ports.clock)
    return Realtime(
        clock=ports.clock,
        ids=ports.ids,
        fan_out=ports.fan_out,
        clients=Clients(ports.tables, ports.clock, ports.hasher),
        users=Users(ports.tables, ports.clock),
        conversations=conversations,
        timeline=Timeline(ports.tables, ports.outbox, ports.cache, ports.clock),
        acknowledgements=Acknowledgements(Receipts(ports.tables), ports.sink, ports.clock, SOURCE),
        presence=Presence(ports.tables, ports.sink, ports.clock),
        listeners=Listeners(ports.tables),
        typing=Typing(conversations, ports.fan_out, ports.cache, ports.clock),
        tickets=Tickets(ports.cache, ports.ids, ports.clock),
    )
