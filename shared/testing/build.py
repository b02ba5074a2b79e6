"""Test data, as small as a test allows: every argument has a value that nobody needs to care about."""

from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from events import Event, EventData, MessageAccepted
from events.vocabulary import Payload, Text
from shared.domain.webhook import Key, Webhook

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def an_id(name: str = "") -> str:
    """The UUID that ``name`` always gives."""
    return str(uuid5(NAMESPACE_OID, name))


def a_text(text: str = "olá") -> Text:
    return Text(text=text)


def a_message_accepted(
    name: str = "m1",
    *,
    conversation: str = "c1",
    seq: int = 1,
    sender: str = "alice",
    payload: Payload | None = None,
    at: datetime = NOON,
    **others: Any,
) -> MessageAccepted:
    """``name`` gives the message_id."""
    return MessageAccepted(
        message_id=an_id(name),
        conversation_id=conversation,
        seq=seq,
        sender=sender,
        payload=payload or a_text(),
        created_at=at,
        **others,
    )


def a_webhook(
    *events: str, webhook_id: str = "w", url: str = "https://example.org/hooks", at: datetime = NOON
) -> Webhook:
    """One that is switched on and asks for these events."""
    return Webhook(
        webhook_id=webhook_id,
        url=url,
        events=frozenset(events),
        description=None,
        enabled=True,
        created_at=at,
        updated_at=at,
        keys=(Key("whsec_" + "A" * 32),),
    )


def an_event(
    data: EventData | None = None,
    *,
    id: str | None = None,
    tenant: str = "acme",
    source: str = "/tests",
    at: datetime = NOON,
    traceparent: str | None = None,
) -> Event[Any]:
    """An event about ``data``; its id is the subject when none is given, as for the first of a chain."""
    data = data or a_message_accepted()
    return Event(id=id or data.subject, source=source, tenant=tenant, time=at, data=data, traceparent=traceparent)
