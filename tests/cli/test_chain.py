"""The tree of a message's events (issue 3, item 8): what was derived, and what came from outside."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from events import (
    DeliveryRequested,
    Event,
    EventData,
    MessageAccepted,
    MessageDelivered,
    MessageRead,
    MessageSent,
    ReceiptReported,
    StatusReported,
    WebhookRequested,
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


def _entries(*events: Event[Any]) -> list[dict[str, Any]]:
    return [
        {"offset": offset, "event": json.loads(event.to_cloudevent().to_structured())}
        for offset, event in enumerate(events, start=1)
    ]


def _tree(*events: Event[Any]) -> list[Any]:
    return [_nested(root) for root in linked(_entries(*events))]


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


def test_news_that_two_have_reported_hangs_below_the_first_and_is_a_repeat_below_the_other() -> None:
    """deliver and the provider both say SENT: one fact, one id, two entries of the log."""

    def reported(cause: Event[Any], trace: int, source: str) -> tuple[Event[Any], Event[Any]]:
        told = {"channel": "whatsapp", "status": Status.SENT, "at": AT}
        named = {"conversation_id": "c1", "message_id": MESSAGE, "recipient": "bruno"}
        traced = replace(cause, traceparent=f"00-{trace:032x}-00f067aa0ba902b7-01")
        report = traced.caused(StatusReported(source=source, **told, **named), source=f"/functions/{source}", at=AT)
        fact = replace(report, id="the fact")
        return report, fact.caused(MessageSent(**told, **named), source="/functions/record-status", at=AT)

    by_deliver, sent = reported(REQUESTED, 1, "deliver")
    by_provider, again = reported(_from_outside(by_deliver.data, 300), 2, "provider")
    assert again.id == sent.id
    log = (ACCEPTED, REQUESTED, by_deliver, sent, by_provider, again)
    assert _tree(*log) == [{1: [{2: [{3: [{4: []}]}, {5: [{6: []}]}]}]}]
    (root,) = linked(_entries(*log))
    below_deliver, below_provider = root.effects[0].effects
    assert "repeat_of" not in below_deliver.effects[0].entry
    assert below_provider.effects[0].entry["repeat_of"] == 4


def test_an_event_that_is_emitted_again_keeps_its_effects_below_the_first() -> None:
    reported = REQUESTED.caused(
        StatusReported(channel="whatsapp", status=Status.SENT, at=AT, source="deliver", provider_message_id="wamid"),
        source="/functions/deliver",
        at=AT,
    )
    assert _tree(ACCEPTED, REQUESTED, REQUESTED, reported) == [{1: [{2: [{4: []}]}, {3: []}]}]


def test_a_step_is_counted_from_the_newest_time_before_it_and_never_from_what_a_provider_told() -> None:
    """A provider's time has whole seconds: its DELIVERED seems older than the callback that brought it."""
    told = {"channel": "whatsapp", "status": Status.DELIVERED, "at": AT, "message_id": MESSAGE}
    callback = _from_outside(StatusReported(source="provider", **told), 307)
    delivered = callback.caused(
        MessageDelivered(conversation_id="c1", recipient="bruno", **told), source="/functions/record-status", at=AT
    )
    woken = delivered.caused(
        WebhookRequested(webhook_id="w1", delivery_id="d1"),
        source="/functions/webhook-dispatch",
        at=AT + timedelta(milliseconds=325),
    )
    (root,) = linked(_entries(ACCEPTED, REQUESTED, callback, delivered, woken))
    (requested,) = root.effects
    (reported,) = requested.effects
    (news,) = reported.effects
    (webhook,) = news.effects
    assert [link.pause for link in (root, requested, reported, news, webhook)] == [0, 0, 307, None, 18]


def test_an_event_that_is_dated_before_its_cause_has_no_duration() -> None:
    early = replace(REQUESTED, time=AT - timedelta(seconds=1))
    (root,) = linked(_entries(ACCEPTED, early))
    assert root.effects[0].pause is None


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
