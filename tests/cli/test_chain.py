"""The tree of a message's events (issue 3, item 8): what was derived, and what came from outside."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from events import (
    DeliveryRequested,
    Event,
    EventData,
    MessageAccepted,
    MessageRead,
    ReceiptReported,
    StatusReported,
)
from events.vocabulary import ReceiptKind, Status, Text
from shared.cli.chain import Link, linked

AT = datetime(2026, 11, 21, 3, 14, 8, tzinfo=UTC)
MESSAGE = "7c8d76f1-0000-4000-8000-000000000001"
ACCEPTED = Event(
    id=MESSAGE,
    source="/functions/send",
    tenant="demo",
    time=AT,
    data=MessageAccepted(
        message_id=MESSAGE, conversation_id="c1", seq=7, sender="ana", payload=Text(text="Olá"), created_at=AT
    ),
)
REQUESTED = ACCEPTED.caused(
    DeliveryRequested(conversation_id="c1", channel="whatsapp", address="+5511", message_id=MESSAGE, seq=7),
    source="/functions/route",
    at=AT,
)


def _from_outside(data: EventData, milliseconds: int) -> Event[Any]:
    at = AT + timedelta(milliseconds=milliseconds)
    return Event(id=f"outside-{milliseconds}", source="/functions/inbound", tenant="demo", time=at, data=data)


def _tree(*events: Event[Any]) -> list[Any]:
    entries = [
        {"offset": offset, "event": json.loads(event.to_cloudevent().to_structured())}
        for offset, event in enumerate(events, start=1)
    ]
    return [_nested(root) for root in linked(entries)]


def _nested(link: Link) -> Any:
    return {link.entry["offset"]: [_nested(effect) for effect in link.effects]}


def test_a_callback_that_names_only_the_providers_message_hangs_below_its_delivery() -> None:
    callback = _from_outside(
        StatusReported(channel="whatsapp", status=Status.READ, at=AT, source="provider", provider_message_id="wamid"),
        300,
    )
    read = callback.caused(
        MessageRead(
            message_id=MESSAGE, conversation_id="c1", recipient="bruno", channel="whatsapp", status=Status.READ, at=AT
        ),
        source="/functions/record-status",
        at=AT,
    )
    assert _tree(ACCEPTED, REQUESTED, callback, read) == [{1: [{2: [{3: [{4: []}]}]}]}]


def test_a_receipt_hangs_below_the_message_that_it_covers() -> None:
    def receipt(from_seq: int, to_seq: int) -> Event[Any]:
        data = ReceiptReported(
            conversation_id="c1", user_id="bruno", kind=ReceiptKind.READ, from_seq=from_seq, to_seq=to_seq, at=AT
        )
        return _from_outside(data, to_seq)

    assert _tree(ACCEPTED, receipt(5, 9)) == [{1: [{2: []}]}]
    assert _tree(ACCEPTED, receipt(8, 9)) == [{1: []}, {2: []}]


def test_an_event_of_an_unknown_type_stands_for_itself() -> None:
    unknown = {
        "specversion": "1.0",
        "id": "x",
        "source": "/s",
        "type": "com.example.thing",
        "time": "2026-11-21T03:14:08Z",
    }
    (root,) = linked([{"offset": 1, "event": unknown}])
    assert (root.entry["offset"], root.effects) == (1, [])
