"""The contract between functions: every event type, typed. Schemas and the catalogue page are made from here."""

from events.cloudevent import BadEvent, CloudEvent
from events.conversation import ConversationCreated, MemberAdded, MemberRemoved
from events.delivery import DeliveryRequested, EchoReceived, ReceiptReported, StatusReported
from events.envelope import Event, EventData, derived_id, from_cloudevent
from events.file import FileCompleted, FileCompleteRequested, FileInitiateRequested, FileReady, FileRejected
from events.message import (
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageRead,
    MessageReceived,
    MessageSendRequested,
    MessageSent,
)
from events.presence import PresenceChanged
from events.timer import TimerTicked
from events.webhook import WebhookDisabled, WebhookRequested

CATALOGUE: dict[str, type[EventData]] = {
    model.TYPE: model
    for model in (
        MessageSendRequested,
        MessageAccepted,
        MessageReceived,
        DeliveryRequested,
        StatusReported,
        EchoReceived,
        ReceiptReported,
        MessageSent,
        MessageDelivered,
        MessageRead,
        MessageFailed,
        ConversationCreated,
        MemberAdded,
        MemberRemoved,
        WebhookRequested,
        WebhookDisabled,
        PresenceChanged,
        FileInitiateRequested,
        FileCompleteRequested,
        FileCompleted,
        FileReady,
        FileRejected,
        TimerTicked,
    )
}
"""Type name to model, in the order of a message's life."""

__all__ = [
    "CATALOGUE",
    "BadEvent",
    "CloudEvent",
    "ConversationCreated",
    "DeliveryRequested",
    "EchoReceived",
    "Event",
    "EventData",
    "FileCompleteRequested",
    "FileCompleted",
    "FileInitiateRequested",
    "FileReady",
    "FileRejected",
    "MemberAdded",
    "MemberRemoved",
    "MessageAccepted",
    "MessageDelivered",
    "MessageFailed",
    "MessageRead",
    "MessageReceived",
    "MessageSendRequested",
    "MessageSent",
    "PresenceChanged",
    "ReceiptReported",
    "StatusReported",
    "TimerTicked",
    "WebhookDisabled",
    "WebhookRequested",
    "derived_id",
    "from_cloudevent",
]
