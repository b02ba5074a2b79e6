"""
webhook-dispatch: what happened is told to the webhooks that ask for it, each by a delivery of its own (D2).

Takes chat4all.message.accepted.v1, chat4all.message.received.v1, chat4all.message.sent.v1,
chat4all.message.delivered.v1, chat4all.message.read.v1, chat4all.message.failed.v1,
chat4all.conversation.created.v1, chat4all.file.ready.v1, chat4all.file.rejected.v1; emits
chat4all.webhook.requested.v1.

A delivery is on the due list before it is kept, and kept before anybody is woken: whatever dies, it is tried. An event
that comes again, or is reported by somebody else too, finds its deliveries there.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from events import (
    ConversationCreated,
    Event,
    EventData,
    FileReady,
    FileRejected,
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageRead,
    MessageReceived,
    MessageSent,
    WebhookRequested,
    derived_id,
)
from events.vocabulary import Payload, rfc3339
from shared.domain.webhook import LARGEST_BODY, Delivery, WebhookPolicy, name_of
from shared.ports import Clock, EventSink, Ports
from shared.repositories.due import DueList
from shared.repositories.interest import Interest
from shared.repositories.timeline import Timeline
from shared.repositories.webhook_deliveries import WebhookDeliveries

SOURCE = "/functions/webhook-dispatch"
_TIMES = ("at", "created_at", "received_at")
_OURS = ("routing", "webhooks", "push")
"""Fields that mean nothing outside."""


def decide(event: Event[Any], payload: Payload | None) -> bytes:
    """
    The body: type, timestamp, data (Standard Webhooks). Without ``payload`` when it would be too large: the message
    can be asked for.
    """
    data = event.data
    told: dict[str, Any] = msgspec.to_builtins(data, builtin_types=(datetime,))
    for name in ("payload", *_OURS):
        told.pop(name, None)
    times = [told.pop(name) for name in _TIMES if name in told]
    if "sender" in told:
        told["from"] = told.pop("sender")
    told = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in told.items()}
    at = rfc3339(times[0] if times else event.time)
    notification = {"type": name_of(data.TYPE), "timestamp": at, "data": {**told, "timestamp": at}}
    if payload is not None:
        whole = {**notification, "data": {**told, "timestamp": at, "payload": payload}}
        body = msgspec.json.encode(whole)
        if len(body) <= LARGEST_BODY:
            return body
    return msgspec.json.encode(notification)


@dataclass(frozen=True, slots=True)
class WebhookDispatch:
    accepts: ClassVar[tuple[type[EventData], ...]] = (
        MessageAccepted,
        MessageReceived,
        MessageSent,
        MessageDelivered,
        MessageRead,
        MessageFailed,
        ConversationCreated,
        FileReady,
        FileRejected,
    )

    clock: Clock
    sink: EventSink
    policy: WebhookPolicy
    interest: Interest
    timeline: Timeline
    deliveries: WebhookDeliveries
    due: DueList

    async def handle(self, event: Event[Any]) -> None:
        webhooks = await self.interest.webhooks(event.tenant, name_of(event.data.TYPE))
        if not webhooks:
            return
        body = decide(event, await self._payload(event))
        requested = await asyncio.gather(*(self._keep(event, webhook_id, body) for webhook_id in webhooks))
        await self.sink.emit(*requested)

    async def _keep(self, event: Event[Any], webhook_id: str, body: bytes) -> Event[WebhookRequested]:
        tenant, kind = event.tenant, event.data.TYPE
        delivery_id = derived_id("webhook-delivery", tenant, webhook_id, kind, event.id)
        now = self.clock.now()
        wake = event.caused(WebhookRequested(webhook_id=webhook_id, delivery_id=delivery_id), source=SOURCE, at=now)
        due_at = await self.due.add(
            tenant, delivery_id, now + self.policy.promise, wake.to_cloudevent(), kind="webhook"
        )
        kept = await self.deliveries.add(
            tenant,
            Delivery(
                delivery_id=delivery_id,
                webhook_id=webhook_id,
                notification_id="msg_" + derived_id("webhook", tenant, kind, event.id).replace("-", ""),
                type=name_of(kind),
                body=body,
                created_at=event.time,
                due_at=due_at,
            ),
        )
        if kept.due_at != due_at:
            await self.due.remove(delivery_id, due_at)  # it is kept already, with an entry of its own
        return wake

    async def _payload(self, event: Event[Any]) -> Payload | None:
        """What was said; not of a message that is to be forgotten (A15)."""
        message: MessageAccepted | None = None
        match event.data:
            case MessageAccepted():
                message = event.data
            case MessageReceived(message_id=message_id):
                message = await self.timeline.find(event.tenant, message_id)
        return None if message is None or message.expires_at is not None else message.payload


def new(ports: Ports) -> WebhookDispatch:
    return WebhookDispatch(
        clock=ports.clock,
        sink=ports.sink,
        policy=ports.webhook_policy,
        interest=Interest(ports.tables),
        timeline=Timeline(ports.tables, ports.outbox, ports.cache, ports.clock),
        deliveries=WebhookDeliveries(ports.tables),
        due=DueList(ports.tables, ports.clock),
    )
