"""
route: an accepted message becomes one mailbox row and one wake-up for each address it goes to (C1, C9).

Takes chat4all.message.accepted.v1 with routing "needed"; emits chat4all.delivery.requested.v1 and, for a
recipient who cannot be reached, chat4all.status.reported.v1 with FAILED.

Woken for message n it plans every message from its cursor to n, in the order of seq: when n's rows stand, all
before it stand too (design.md 4). That needs nobody to wait; that a process plans a message once, however many
wake-ups come at once, does: they go through the conversation's lane one behind the other (ADR 31).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from events import DeliveryRequested, Event, EventData, MessageAccepted, StatusReported
from events.vocabulary import Status
from shared.domain.mailbox import Item
from shared.domain.routing import Delivery, Undeliverable, Way, plan, users_to_look_up
from shared.keyed_locks import KeyedLocks
from shared.observability import metrics
from shared.ports import Clock, EventSink, Ports
from shared.repositories.conversations import Conversations
from shared.repositories.cursors import Cursors
from shared.repositories.deliveries import Deliveries, DeliveryRecord
from shared.repositories.identities import Identities
from shared.repositories.mailboxes import Mailbox, Mailboxes
from shared.repositories.timeline import Timeline

SOURCE = "/functions/route"
READER = "route"
PAGE = 20
"""Messages after which the cursor moves: no more are planned again when a handler is cut."""


def decide(
    message: MessageAccepted, planned: Sequence[Delivery | Undeliverable], now: datetime
) -> list[DeliveryRequested | StatusReported]:
    """What the plan of one message brings about."""
    return [
        DeliveryRequested(
            conversation_id=message.conversation_id,
            channel=one.channel,
            address=one.address,
            message_id=message.message_id,
            seq=message.seq,
        )
        if isinstance(one, Delivery)
        else StatusReported(
            channel=one.channel,
            status=Status.FAILED,
            at=now,
            source="route",
            conversation_id=message.conversation_id,
            message_id=message.message_id,
            recipient=one.recipient,
            reason=one.reason,
        )
        for one in planned
    ]


@dataclass(frozen=True, slots=True)
class Route:
    accepts: ClassVar[tuple[type[EventData], ...]] = (MessageAccepted,)

    clock: Clock
    sink: EventSink
    timeline: Timeline
    conversations: Conversations
    identities: Identities
    deliveries: Deliveries
    mailboxes: Mailboxes
    cursors: Cursors
    lanes: KeyedLocks[tuple[str, str]] = field(default_factory=KeyedLocks)
    """Of a conversation's wake-ups; whoever comes later finds the cursor moved."""
    page: int = PAGE

    async def handle(self, event: Event[MessageAccepted]) -> None:
        async with self.lanes.of((event.tenant, event.data.conversation_id)):
            await self._catch_up(event)

    async def _catch_up(self, event: Event[MessageAccepted]) -> None:
        tenant, woken_for = event.tenant, event.data
        cursor = await self.cursors.get(tenant, woken_for.conversation_id, READER)
        while cursor < woken_for.seq:
            limit = min(self.page, woken_for.seq - cursor)
            messages = await self.timeline.since(tenant, woken_for.conversation_id, cursor, limit)
            if not messages:
                return
            for message in messages:
                await self._route(event, message)
            cursor = messages[-1].seq
            await self.cursors.move(tenant, woken_for.conversation_id, READER, cursor)

    async def _route(self, event: Event[Any], message: MessageAccepted) -> None:
        if message.routing == "none":
            return
        tenant, now = event.tenant, self.clock.now()
        planned = await self._plan(tenant, message)
        if not planned:
            return
        records = [_record(message, one) for one in planned if isinstance(one, Delivery)]
        await self.deliveries.plan(tenant, records, now)
        for record in records:
            mailbox = Mailbox(tenant, record.channel, record.address, record.conversation_id)
            await self.mailboxes.add(mailbox, _item(record))
        # The cause is the message itself, whichever wake-up got here first: the ids are the same.
        cause = Event(
            id=message.message_id,
            source=event.source,
            tenant=tenant,
            time=message.created_at,
            data=message,
            traceparent=event.traceparent,
        )
        caused = [cause.caused(data, source=SOURCE, at=now) for data in decide(message, planned, now)]
        await self.sink.emit(*caused)
        metrics.message_routed(tenant)

    async def _plan(self, tenant: str, message: MessageAccepted) -> list[Delivery | Undeliverable]:
        members = await self.conversations.members(tenant, message.conversation_id) if message.to is None else ()
        ways = {
            user_id: [
                Way(identity.channel, identity.identifier, identity.is_active)
                for identity in await self.identities.of(tenant, user_id)
            ]
            for user_id in users_to_look_up(message, members)
        }
        return plan(message, members, ways)


def _record(message: MessageAccepted, delivery: Delivery) -> DeliveryRecord:
    return DeliveryRecord(
        delivery_id=delivery.delivery_id,
        message_id=message.message_id,
        conversation_id=message.conversation_id,
        seq=message.seq,
        recipient=delivery.recipient,
        channel=delivery.channel,
        address=delivery.address,
    )


def _item(record: DeliveryRecord) -> Item:
    return Item(
        seq=record.seq, delivery_id=record.delivery_id, message_id=record.message_id, recipient=record.recipient
    )


def new(ports: Ports) -> Route:
    return Route(
        clock=ports.clock,
        sink=ports.sink,
        timeline=Timeline(ports.tables, ports.outbox, ports.cache, ports.clock),
        conversations=Conversations(ports.tables, ports.clock),
        identities=Identities(ports.tables),
        deliveries=Deliveries(ports.tables),
        mailboxes=Mailboxes(ports.tables),
        cursors=Cursors(ports.tables),
    )
