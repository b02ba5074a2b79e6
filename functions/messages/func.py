"""
messages: what was said, how far it came, and what its readers say about it (A8, A9, A10).

Takes HTTP (http.py); emits chat4all.receipt.reported.v1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from events import EventData, MessageAccepted
from events.vocabulary import ReceiptKind, Status
from shared.domain.errors import Invalid, NotFound
from shared.domain.status import Report, deliveries, history, overall
from shared.ports import Ports
from shared.repositories.acknowledgements import Acknowledgements
from shared.repositories.conversations import Conversations
from shared.repositories.deliveries import Deliveries
from shared.repositories.receipts import Receipts
from shared.repositories.statuses import Statuses
from shared.repositories.timeline import Timeline

SOURCE = "/functions/messages"


@dataclass(frozen=True, slots=True)
class Standing:
    """A message and how far it has come."""

    message: MessageAccepted
    status: Status
    deliveries: Sequence[Report]
    history: Sequence[Report]


def decide(message: MessageAccepted, reports: Sequence[Report]) -> Standing:
    """The statuses that the reports add up to."""
    latest = deliveries(reports)
    return Standing(message, overall(latest), latest, history(reports))


@dataclass(frozen=True, slots=True)
class Messages:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    conversations: Conversations
    timeline: Timeline
    acknowledgements: Acknowledgements
    statuses: Statuses

    async def get(self, tenant: str, message_id: str, user_id: str | None) -> Standing:
        """
        Args:
            user_id: who asks; None for a client that asks for its tenant.

        Raises:
            NotFound: no such message, or not in a conversation of this user.
        """
        message = await self._message(tenant, message_id, user_id)
        roster = await self.statuses.roster(tenant, message.conversation_id)
        (reports,) = await self.statuses.reports(tenant, [message], roster)
        return decide(message, reports)

    async def page(
        self, tenant: str, conversation_id: str, user_id: str | None, *, since: int, before: int | None, limit: int
    ) -> list[tuple[MessageAccepted, Status]]:
        """
        History in ascending order: from ``since`` + 1, or the last ones before ``before``.

        Raises:
            NotFound: no such conversation, or not one of this user's.
        """
        await self._check_reader(tenant, conversation_id, user_id)
        if before is None:
            messages = await self.timeline.since(tenant, conversation_id, since, limit)
        else:
            messages = await self.timeline.before(tenant, conversation_id, before, limit)
        roster = await self.statuses.roster(tenant, conversation_id)
        return list(zip(messages, await self.statuses.statuses(tenant, messages, roster), strict=True))

    async def acknowledge(
        self, tenant: str, message_id: str, user_id: str, kind: ReceiptKind, traceparent: str | None
    ) -> None:
        """
        The recipient says that they have, or have read, the one message; repeating it changes nothing.

        Raises:
            NotFound: no such message that this user can read.
            Invalid: nobody acknowledges their own message.
        """
        message = await self._message(tenant, message_id, user_id)
        if message.sender == user_id:
            raise Invalid("the sender of a message has no receipt to give for it")
        await self.acknowledgements.one(tenant, message.conversation_id, user_id, kind, message.seq, traceparent)

    async def read_up_to(
        self, tenant: str, conversation_id: str, user_id: str, seq: int, traceparent: str | None
    ) -> None:
        """
        Raises:
            NotFound: no such conversation of this user.
            Invalid: there is no message with this number yet.
        """
        await self._check_reader(tenant, conversation_id, user_id)
        head = await self.timeline.head(tenant, conversation_id)
        if not 1 <= seq <= head:
            raise Invalid(errors=[{"pointer": "/seq", "detail": f"the conversation has the numbers 1 to {head}"}])
        await self.acknowledgements.up_to(tenant, conversation_id, user_id, ReceiptKind.READ, seq, traceparent)

    async def _message(self, tenant: str, message_id: str, user_id: str | None) -> MessageAccepted:
        message = await self.timeline.find(tenant, message_id.lower())
        if message is None:
            raise NotFound(f"there is no message {message_id!r}")
        if user_id is not None and not await self.conversations.is_member(tenant, message.conversation_id, user_id):
            raise NotFound(f"there is no message {message_id!r}")
        return message

    async def _check_reader(self, tenant: str, conversation_id: str, user_id: str | None) -> None:
        known = await self.conversations.get(tenant, conversation_id)
        if known is not None and user_id is not None:
            known = known if await self.conversations.is_member(tenant, conversation_id, user_id) else None
        if known is None:
            raise NotFound(f"there is no conversation {conversation_id!r} here")


def new(ports: Ports) -> Messages:
    conversations = Conversations(ports.tables, ports.clock)
    receipts = Receipts(ports.tables)
    return Messages(
        conversations=conversations,
        timeline=Timeline(ports.tables, ports.outbox, ports.cache, ports.clock),
        acknowledgements=Acknowledgements(receipts, ports.sink, ports.clock, SOURCE),
        statuses=Statuses(conversations, Deliveries(ports.tables), receipts),
    )
