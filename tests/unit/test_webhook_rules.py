"""The life of a webhook delivery, and what is told, as values (D2, D3; reliability.md 1.5)."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import ConversationCreated, MessageRead, MessageReceived
from events.vocabulary import Status, Text
from functions.webhook_dispatch.func import decide as body_of
from shared.domain.errors import Invalid
from shared.domain.webhook import (
    LARGEST_BODY,
    LONGEST_WAIT,
    MAX_OLD_KEYS,
    SCHEDULE,
    Answer,
    Delivery,
    Key,
    State,
    Webhook,
    WebhookPolicy,
    asked_wait,
    check_events,
    ended,
    failing_since,
    given_up,
    may_be_taken,
    put_off,
    replayed,
    rotated,
    schedule_of,
    taken,
    wants,
)
from shared.testing.build import NOON, a_message_accepted, an_event, an_id

POLICY = WebhookPolicy()
DELIVERY = Delivery(
    delivery_id=an_id("delivery"),
    webhook_id="w",
    notification_id="msg_1",
    type="message.read",
    body=b"{}",
    created_at=NOON,
    due_at=NOON + POLICY.promise,
)
WEBHOOK = Webhook(
    webhook_id="w",
    url="https://example.org/",
    events=frozenset("*"),
    description=None,
    enabled=True,
    created_at=NOON,
    updated_at=NOON,
    keys=(Key("whsec_1"),),
)


def tried(delivery: Delivery, answer: Answer, now=NOON, policy: WebhookPolicy = POLICY) -> Delivery:
    return ended(taken(delivery, now, policy, delivery.due_at), answer, now, policy)


def test_ten_tries_over_three_days_and_then_no_more():
    delivery, now, waits = DELIVERY, NOON, []
    while not delivery.finished:
        assert may_be_taken(delivery, now)
        delivery = tried(delivery, Answer(status_code=500), now)
        if delivery.until is not None:
            waits.append(delivery.until - now)
            assert delivery.due_at == delivery.until, "its entry of the due list is what wakes it"
            now = delivery.until
    assert (delivery.state, delivery.tries, delivery.reason) == (State.FAILED, 10, "status 500")
    assert timedelta(hours=60) < now - NOON < timedelta(hours=92)
    assert all(0.8 * step <= wait <= 1.2 * step for step, wait in zip(SCHEDULE, waits, strict=True))


@given(key=st.text(min_size=1, max_size=40), tries=st.integers(0, 8))
def test_a_pause_is_its_step_give_or_take_a_fifth_and_the_same_for_the_same_one(key: str, tries: int):
    delivery = replace(DELIVERY, delivery_id=key, tries=tries)
    one, two = (tried(delivery, Answer(problem="unreachable")) for _ in range(2))
    assert one == two
    assert 0.8 * SCHEDULE[tries] <= one.until - NOON <= 1.2 * SCHEDULE[tries]


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_2xx_is_success_and_nothing_else_is(status: int):
    assert tried(DELIVERY, Answer(status_code=status)).state is State.DELIVERED
    for refused in (100, 199, 300, 301, 307, 400, 404, 429, 500, 503):
        assert tried(DELIVERY, Answer(status_code=refused)).state is State.WAITING


@pytest.mark.parametrize(
    "answer", [Answer(status_code=410), Answer(status_code=500, abort=True), Answer(status_code=301, abort=True)]
)
def test_who_wants_no_more_gets_no_more(answer: Answer):
    assert tried(DELIVERY, answer).state is State.FAILED


def test_what_a_receiver_asks_to_wait_is_waited_and_never_less_than_the_schedule():
    assert tried(DELIVERY, Answer(status_code=429, retry_after="120")).until == NOON + timedelta(minutes=2)
    assert tried(DELIVERY, Answer(status_code=500, retry_after="0")).until > NOON + timedelta(seconds=3)
    assert tried(DELIVERY, Answer(status_code=503, retry_after="9" * 40)).until == NOON + LONGEST_WAIT
    assert tried(DELIVERY, Answer(status_code=503, retry_after="soon")).until < NOON + timedelta(seconds=10)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(problem="timeout"),
        *(
            Answer(status_code=code, retry_after=after)
            for code, after in ((429, None), (429, "0"), (502, None), (504, None))
        ),
    ],
)
def test_who_is_overloaded_is_left_alone_for_a_minute(answer: Answer):
    assert timedelta(seconds=60) <= tried(DELIVERY, answer).until - NOON <= timedelta(seconds=90)
    later = replace(DELIVERY, tries=3)
    assert tried(later, answer).until > NOON + timedelta(hours=1)
    short = replace(POLICY, schedule=(timedelta(seconds=1), timedelta(seconds=3)))
    assert tried(DELIVERY, answer, policy=short).until <= NOON + timedelta(seconds=3.6), "as its longest step"


@given(st.text(max_size=60))
def test_whatever_stands_in_retry_after_is_a_wait_or_nothing(header: str):
    wait = asked_wait(header, NOON)
    assert wait is None or timedelta() <= wait <= LONGEST_WAIT


def test_what_is_being_sent_is_left_alone_until_its_lease_is_over():
    sending = taken(DELIVERY, NOON, POLICY, DELIVERY.due_at)
    assert not may_be_taken(sending, NOON + POLICY.lease - timedelta(seconds=1))
    assert may_be_taken(sending, NOON + POLICY.lease)
    assert sending.due_at > sending.until, "somebody looks when the lease is over"


def test_a_wake_up_a_little_early_is_not_sent_away():
    waiting = tried(DELIVERY, Answer(status_code=500))
    assert may_be_taken(waiting, waiting.until - timedelta(seconds=1))
    assert not may_be_taken(waiting, waiting.until - timedelta(seconds=3))


@given(st.integers(1, 400))
def test_a_rest_is_never_the_end(times: int):
    """Who is down for days has a heap that waits; it is not given up untried, and comes back ever more rarely."""
    delivery, now = DELIVERY, NOON
    for _ in range(times):
        delivery = put_off(delivery, now + timedelta(seconds=5), now, POLICY)
        assert delivery.state is State.WAITING and delivery.until >= now + timedelta(seconds=4)
        now = delivery.until
    assert not delivery.finished
    assert tried(delivery, Answer(status_code=200), now).state is State.DELIVERED


def test_a_replay_begins_anew_under_the_same_id():
    failed = given_up(replace(DELIVERY, tries=10, made=10), "timeout", NOON)
    again = replayed(failed, NOON + POLICY.promise)
    assert may_be_taken(again, NOON)
    assert (again.tries, again.made, again.notification_id) == (0, 10, DELIVERY.notification_id)


def test_a_webhook_that_fails_once_a_month_is_forgiven():
    first = failing_since(WEBHOOK, NOON, POLICY)
    assert first == NOON
    failing = replace(WEBHOOK, failing_since=NOON)
    assert failing_since(failing, NOON + timedelta(days=6), POLICY) == NOON
    later = NOON + timedelta(days=30)
    assert failing_since(failing, later, POLICY) == later


def test_old_keys_sign_until_their_time_and_are_not_kept_for_ever():
    keys = (Key("0"),)
    for n in range(1, 30):
        keys = rotated(keys, str(n), NOON + timedelta(hours=n))
    assert len(keys) == 1 + MAX_OLD_KEYS
    webhook = replace(WEBHOOK, keys=keys)
    assert webhook.signing(NOON)[:2] == ["29", "28"]
    assert webhook.signing(NOON + timedelta(hours=29)) == ["29"]
    assert "28" not in repr(webhook), "no secret in a log"


def test_names_of_events():
    assert check_events(["*", "message.*", "message.read", "ticket.opened", "file.ready"])
    for wrong in ("", "message", "message.", "message.eaten", "*.read", "ticket.", "desk.*", "message.read "):
        with pytest.raises(Invalid, match="/events/1"):
            check_events(["*", wrong])
    assert wants(frozenset({"ticket.*"}), "ticket.opened") and not wants(frozenset({"ticket.*"}), "message.read")


@pytest.mark.parametrize("text", ["0", "-1", "x", "1,0", "1;2"])
def test_a_schedule_is_seconds_above_zero(text: str):
    with pytest.raises(ValueError, match=r".+"):
        schedule_of(text)


def told(data, payload=None) -> dict:
    body: dict = json.loads(body_of(an_event(data), payload))
    return body


def test_what_is_told_of_a_status():
    read = MessageRead(
        message_id=an_id("m"), conversation_id="c", recipient="bia", channel="chat4all", status=Status.READ, at=NOON
    )
    assert told(read) == {
        "type": "message.read",
        "timestamp": "2026-11-21T12:00:00.000Z",
        "data": {
            "message_id": an_id("m"),
            "conversation_id": "c",
            "recipient": "bia",
            "channel": "chat4all",
            "status": "READ",
            "timestamp": "2026-11-21T12:00:00.000Z",
        },
    }


def test_what_is_told_of_a_message_and_of_a_conversation():
    body = told(a_message_accepted(webhooks="wanted"), Text(text="olá"))
    assert body["data"]["payload"] == {"type": "text", "text": "olá"}
    assert not {"routing", "webhooks", "sender", "created_at"} & body["data"].keys()
    received = MessageReceived(
        message_id=an_id("m"), conversation_id="c", seq=1, sender="u", channel="fake", account_id="us", received_at=NOON
    )
    assert told(received, Text(text="oi"))["data"]["payload"]["text"] == "oi"
    created = ConversationCreated(conversation_id="c", type="group", members=("a", "b"), created_at=NOON)
    assert told(created)["data"]["members"] == ["a", "b"]


def test_a_long_text_is_left_out_and_the_message_can_be_asked_for():
    body = body_of(an_event(a_message_accepted()), Text(text="x" * LARGEST_BODY))
    assert len(body) < 1000 and "payload" not in json.loads(body)["data"]


@pytest.mark.parametrize("header", ["Sat, 21 Nov 2026 12:00:00 +99999999999999", "Sat, 32 Nov 2026 12:00:00 GMT", ""])
def test_a_date_that_is_none_asks_for_nothing(header):
    assert asked_wait(header, NOON) is None
