"""
Webhooks over real HTTP: signed, retried, replayed, switched off, and never to where they must not go (D1, D2, D3).

The receiver is a server of this test's own; what it takes is judged by the libraries of Standard Webhooks.
"""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.testing.live import CANARY, Caller, eventually, fresh_id, text
from shared.testing.receiver import Receiver, Reply, Taken
from shared.testing.standard_webhooks import Case, in_javascript, in_python, node_is_here


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


def subscribe(caller: Caller, receiver: Receiver, *events: str, **more: Any) -> dict[str, Any]:
    body = {"url": receiver.url(), "events": list(events) or ["*"], **more}
    made: dict[str, Any] = caller.must("POST", "/v1/webhooks", body)
    return made


def path_of(webhook: dict[str, Any], *more: str) -> str:
    return "/".join(("/v1/webhooks", webhook["webhook_id"], *more))


def deliveries(caller: Caller, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = caller.must("GET", path_of(webhook, "deliveries"), params=query)["items"]
    return items


def case(secret: str, taken: Taken) -> Case:
    return Case(secret, taken.headers, taken.body.decode())


def holds(secret: str, taken: Taken) -> bool:
    return in_python([case(secret, taken)]) == [True]


def test_what_happens_is_told_signed_and_once(acme: Caller, receiver: Receiver) -> None:
    webhook = subscribe(acme, receiver)
    talk = acme.conversation("ana", "bruno")
    said = acme.send(talk, "ana")
    acme.acting("bruno").must("POST", f"/v1/messages/{said['message_id']}/read")
    kinds = ["conversation.created", "message.accepted", "message.delivered", "message.read"]
    eventually(lambda: len(receiver.taken) >= len(kinds))
    assert sorted(taken.type for taken in receiver.taken) == kinds
    assert len({taken.notification_id for taken in receiver.taken}) == len(kinds)
    for taken in receiver.taken:
        assert holds(webhook["secret"], taken)
        assert not holds("whsec_" + base64.b64encode(b"another secret of 32 bytes......").decode(), taken)
        assert taken.headers["content-type"] == "application/json"
    (accepted,) = receiver.of("message.accepted")
    assert accepted.document["data"]["payload"] == text()
    assert accepted.document["data"]["from"] == "ana"
    assert accepted.document["data"]["seq"] == said["seq"]
    (read,) = receiver.of("message.read")
    data = read.document["data"]
    expected = {
        "message_id": said["message_id"],
        "conversation_id": talk,
        "recipient": "bruno",
        "channel": "chat4all",
        "status": "READ",
        "timestamp": read.document["timestamp"],
    }
    assert data == expected


@pytest.mark.skipif(not node_is_here(), reason="needs Node and npm")
def test_a_receiver_in_javascript_verifies_what_it_is_told(acme: Caller, receiver: Receiver) -> None:
    webhook = subscribe(acme, receiver, "message.*")
    acme.send(acme.conversation("ana", "bruno"), "ana", "olá 🙂 \x00\u2028")
    (taken,) = eventually(lambda: receiver.of("message.accepted"))
    wrong = "whsec_" + base64.b64encode(bytes(32)).decode()
    assert in_javascript([case(webhook["secret"], taken), case(wrong, taken)]) == [True, False]


def test_only_what_is_asked_for_is_told_from_the_answer_on(acme: Caller, receiver: Receiver) -> None:
    """The registration is answered when every process knows: nothing that happens after it is missed."""
    talk = acme.conversation("ana", "bruno")
    acme.send(talk, "ana", "before")
    subscribe(acme, receiver, "message.accepted")
    said = [acme.send(talk, "ana", f"{n}")["message_id"] for n in range(5)]
    acme.acting("bruno").must("POST", f"/v1/messages/{said[0]}/read")
    eventually(lambda: len(receiver.taken) >= 5)
    assert sorted(taken.document["data"]["message_id"] for taken in receiver.taken) == sorted(said)
    assert {taken.type for taken in receiver.taken} == {"message.accepted"}


def test_receipts_are_told_of_single_messages_because_a_webhook_asks(acme: Caller, receiver: Receiver) -> None:
    subscribe(acme, receiver, "message.read")
    talk = acme.conversation("ana", "bruno")
    said = [acme.send(talk, "ana", f"{n}")["message_id"] for n in range(7)]
    acme.acting("bruno").must("PUT", f"/v1/conversations/{talk}/read", {"seq": 7})
    eventually(lambda: len(receiver.taken) >= 7)
    assert sorted(taken.document["data"]["message_id"] for taken in receiver.taken) == sorted(said)
    assert len({taken.notification_id for taken in receiver.taken}) == 7


def test_nobody_pays_for_webhooks_that_are_not_there(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    said = acme.send(talk, "ana")
    acme.acting("bruno").must("POST", f"/v1/messages/{said['message_id']}/read")

    def types() -> set[str]:
        return {one["event"]["type"] for one in acme.must("GET", "/v1/events", params={"limit": 200})["items"]}

    eventually(lambda: "chat4all.receipt.reported.v1" in types())
    assert not [kind for kind in types() if "webhook" in kind or kind.endswith(("delivered.v1", "read.v1"))]
    (accepted,) = [event for event in acme.chain(said["message_id"]) if "accepted" in event["type"]]
    assert "webhooks" not in accepted


def test_a_refusal_is_tried_again_under_the_same_id_and_all_is_in_the_log(acme: Caller, receiver: Receiver) -> None:
    answers = iter([Reply(500, body=b"x" * 5000), Reply(429, {"retry-after": "1"})])
    receiver.answer = lambda taken: next(answers, Reply(200, body=b"thank you"))
    webhook = subscribe(acme, receiver, "message.accepted")
    acme.send(acme.conversation("ana", "bruno"), "ana")
    (done,) = eventually(lambda: deliveries(acme, webhook, status="delivered"), within=60)
    assert len({taken.notification_id for taken in receiver.taken}) == 1
    assert len({taken.headers["webhook-timestamp"] for taken in receiver.taken}) == 3
    assert all(holds(webhook["secret"], taken) for taken in receiver.taken)
    assert (done["tries"], done["status_code"], done["next_try_at"]) == (3, 200, None)
    whole = acme.must("GET", path_of(webhook, "deliveries", done["delivery_id"]))
    assert [one["status_code"] for one in whole["history"]] == [500, 429, 200]
    first, _, last = whole["history"]
    assert (len(first["response"]), first["response_truncated"]) == (1024, True)
    assert (last["response"], last["response_truncated"]) == ("thank you", False)
    assert whole["body"].encode() == receiver.taken[0].body


def test_what_never_works_is_given_up_and_can_be_replayed_alone_and_by_time(acme: Caller, receiver: Receiver) -> None:
    receiver.answer = lambda taken: Reply(503)
    began = datetime.now(UTC)  # noqa: TID251  the caller's own clock
    webhook = subscribe(acme, receiver, "message.accepted")
    talk = acme.conversation("ana", "bruno")
    said = {acme.send(talk, "ana", f"{n}")["message_id"] for n in range(2)}
    failed = eventually(lambda: _all_of(2, deliveries(acme, webhook, status="failed")), within=90)
    assert {one["reason"] for one in failed} == {"status 503"}
    before = {taken.notification_id for taken in receiver.taken}
    receiver.answer = lambda taken: Reply()
    receiver.taken.clear()
    one = failed[0]["delivery_id"]
    assert acme.must("POST", path_of(webhook, "deliveries", one, "replay"))["status"] == "accepted"
    eventually(lambda: len(deliveries(acme, webhook, status="delivered")) == 1, within=30)
    since = (began - timedelta(minutes=1)).isoformat()
    again = acme.must("POST", path_of(webhook, "replay"), {"since": since})
    assert (again["replayed"], again["next_cursor"]) == (1, None)
    eventually(lambda: _all_of(2, deliveries(acme, webhook, status="delivered")), within=30)
    assert {taken.document["data"]["message_id"] for taken in receiver.taken} == said
    assert {taken.notification_id for taken in receiver.taken} == before
    assert acme.must("POST", path_of(webhook, "replay"), {"since": since})["replayed"] == 0
    assert acme.must("POST", path_of(webhook, "replay"), {"since": since, "status": "all"})["replayed"] == 2


def _all_of(count: int, found: list[Any]) -> list[Any]:
    return found if len(found) == count else []


def test_a_receiver_that_is_gone_is_switched_off_with_an_event(acme: Caller, receiver: Receiver) -> None:
    receiver.answer = lambda taken: Reply(410)
    webhook = subscribe(acme, receiver, "message.accepted")
    talk = acme.conversation("ana", "bruno")
    acme.send(talk, "ana")
    eventually(lambda: not acme.must("GET", path_of(webhook))["enabled"])
    assert acme.must("GET", path_of(webhook))["disabled_reason"] == "gone"
    logged = acme.must("GET", "/v1/events", params={"limit": 200})["items"]
    disabled = [one["event"] for one in logged if one["event"]["type"] == "chat4all.webhook.disabled.v1"]
    assert [event["data"]["webhook_id"] for event in disabled] == [webhook["webhook_id"]]
    (one,) = deliveries(acme, webhook)
    assert (one["status"], one["reason"]) == ("failed", "gone")
    refused = acme("POST", path_of(webhook, "deliveries", one["delivery_id"], "replay"))
    assert refused.status_code == 409
    receiver.answer = lambda taken: Reply()
    receiver.taken.clear()
    awake = acme.must("PATCH", path_of(webhook), {"enabled": True})
    assert (awake["enabled"], awake["disabled_reason"]) == (True, None)
    acme.send(talk, "ana", "again")
    eventually(lambda: receiver.of("message.accepted"))


def test_a_receiver_may_want_no_more_of_one(acme: Caller, receiver: Receiver) -> None:
    receiver.answer = lambda taken: Reply(400, {"webhook-delivery": "abort-message"})
    webhook = subscribe(acme, receiver, "message.accepted")
    acme.send(acme.conversation("ana", "bruno"), "ana")
    (one,) = eventually(lambda: deliveries(acme, webhook, status="failed"))
    assert one["tries"] == 1
    assert acme.must("GET", path_of(webhook))["enabled"]


def test_a_redirect_is_a_refusal_and_is_not_followed(acme: Caller, receiver: Receiver) -> None:
    receiver.answer = lambda taken: Reply(307, {"location": receiver.url("/elsewhere")})
    webhook = subscribe(acme, receiver, "message.accepted")
    tested = acme.must("POST", path_of(webhook, "test"))
    assert (tested["ok"], tested["status_code"]) == (False, 307)
    assert [taken.path for taken in receiver.taken] == ["/hooks"]


def test_a_replaced_secret_signs_too_until_its_time_is_over(acme: Caller, receiver: Receiver) -> None:
    webhook = subscribe(acme, receiver, "message.accepted")
    rotated = acme.must("POST", path_of(webhook, "rotate-secret"))
    assert rotated["secret"].startswith("whsec_") and rotated["secret"] != webhook["secret"]
    acme.must("POST", path_of(webhook, "test"))
    assert len(receiver.taken[-1].headers["webhook-signature"].split()) == 2
    assert holds(webhook["secret"], receiver.taken[-1]) and holds(rotated["secret"], receiver.taken[-1])
    third = acme.must("POST", path_of(webhook, "rotate-secret"), {"keep_hours": 0})
    acme.must("POST", path_of(webhook, "test"))
    last = receiver.taken[-1]
    assert [holds(one["secret"], last) for one in (third, rotated, webhook)] == [True, False, False]


def test_a_secret_is_shown_once_and_may_be_the_callers_own(acme: Caller, receiver: Receiver) -> None:
    mine = "whsec_" + base64.b64encode(b"thirty-two bytes that I chose my").decode()
    webhook = subscribe(acme, receiver, "message.accepted", secret=mine, description=f"mine {CANARY}")
    assert webhook["secret"] == mine
    for answer in (acme("GET", path_of(webhook)), acme("GET", "/v1/webhooks"), acme("PATCH", path_of(webhook), {})):
        assert answer.is_success
        assert mine not in answer.text and "whsec_" not in answer.text
    acme.must("POST", path_of(webhook, "test"))
    assert holds(mine, receiver.taken[-1])
    assert receiver.taken[-1].type == "webhook.ping"


def test_a_webhook_may_be_signed_with_a_private_key(acme: Caller, receiver: Receiver) -> None:
    webhook = subscribe(acme, receiver, "message.accepted", signing="ed25519")
    assert webhook["secret"] is None and webhook["public_key"].startswith("whpk_")
    acme.must("POST", path_of(webhook, "test"))
    taken = receiver.taken[-1]
    version, _, signature = taken.headers["webhook-signature"].partition(",")
    assert version == "v1a"
    signed = b".".join((taken.headers["webhook-id"].encode(), taken.headers["webhook-timestamp"].encode(), taken.body))
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(webhook["public_key"].removeprefix("whpk_")))
    key.verify(base64.b64decode(signature), signed)
    rotated = acme.must("POST", path_of(webhook, "rotate-secret"))
    assert rotated["secret"] is None and rotated["public_key"] != webhook["public_key"]


REFUSED_URLS = [
    "http://169.254.169.254/latest/meta-data",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1]/",
    "https://[fd00:ec2::254]/",
    "https://100.100.100.200/",
    "https://[::ffff:169.254.169.254]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://0.0.0.0/",
    "https://0/",
    "https://224.0.0.1/",
    "https://2852039166/",  # 169.254.169.254 as one number
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://user:secret@example.org/",
    "https://example.org/#part",
    "https://nowhere.invalid/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "https:///path",
    "https://",
    "nonsense",
    "https://" + "x" * 2048,
]


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_where_webhooks_must_not_go_is_refused_when_it_is_asked_for(acme: Caller, url: str) -> None:
    refused = acme("POST", "/v1/webhooks", {"url": url, "events": ["*"]})
    assert refused.status_code == 422, refused.text
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/url"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"events": ["message.eaten"]}, "/events/0"),
        ({"events": ["*", "tickets.*"]}, "/events/1"),
        ({"events": []}, "/events"),
        ({"events": "*"}, "/events"),
        ({"secret": "whsec_c2hvcnQ="}, "/secret"),
        ({"secret": "no prefix"}, "/secret"),
        ({"secret": "whsec_" + base64.b64encode(bytes(32)).decode(), "signing": "ed25519"}, "/secret"),
        ({"signing": "md5"}, "/signing"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_what_cannot_be_is_said_where_it_stands(
    acme: Caller, receiver: Receiver, body: dict[str, Any], pointer: str
) -> None:
    refused = acme("POST", "/v1/webhooks", {"url": receiver.url(), "events": ["*"], **body})
    assert refused.status_code == 422, refused.text
    assert pointer in [error["pointer"] for error in refused.json()["errors"]]


def test_webhooks_are_listed_changed_and_removed(acme: Caller, receiver: Receiver) -> None:
    webhook = subscribe(acme, receiver, "message.read", "file.ready", "ticket.*", description="first")
    assert [one["webhook_id"] for one in acme.must("GET", "/v1/webhooks")["items"]] == [webhook["webhook_id"]]
    changed = acme.must("PATCH", path_of(webhook), {"events": ["message.accepted"], "description": None})
    assert (changed["events"], changed["description"]) == (["message.accepted"], None)
    assert acme("PATCH", path_of(webhook), {"url": None}).status_code == 422
    assert acme("PATCH", path_of(webhook), {"url": "https://169.254.169.254/"}).status_code == 422
    talk = acme.conversation("ana", "bruno")
    acme.send(talk, "ana")
    eventually(lambda: receiver.of("message.accepted"))
    assert acme("DELETE", path_of(webhook)).status_code == 204
    assert acme("GET", path_of(webhook)).status_code == 404
    receiver.taken.clear()
    acme.send(talk, "ana", "nobody hears")
    other = subscribe(acme, receiver, "message.accepted")
    acme.send(talk, "ana", "heard")
    eventually(lambda: receiver.of("message.accepted"))
    assert [taken.document["data"]["payload"] for taken in receiver.taken] == [text("heard")]
    assert other["webhook_id"] != webhook["webhook_id"]


def test_a_tenants_webhooks_hear_nothing_of_another(acme: Caller, shop: Caller, receiver: Receiver) -> None:
    webhook = subscribe(acme, receiver)
    shop.users("mallory", "trent")
    shop.send(shop.conversation("mallory", "trent"), "mallory")
    acme.send(acme.conversation("ana", "bruno"), "ana")
    eventually(lambda: receiver.of("message.accepted"))
    assert {taken.document["data"].get("from", "ana") for taken in receiver.taken} == {"ana"}
    for path in (path_of(webhook), path_of(webhook, "deliveries")):
        assert shop("GET", path).status_code == 404
    (one,) = deliveries(acme, webhook, limit=1)
    mine = shop.must("POST", "/v1/webhooks", {"url": receiver.url("/other"), "events": ["message.failed"]})
    assert shop("GET", path_of(mine, "deliveries", one["delivery_id"])).status_code == 404
    assert shop("POST", path_of(mine, "deliveries", one["delivery_id"], "replay")).status_code == 404


def test_a_user_may_not_have_webhooks(acme: Caller, receiver: Receiver) -> None:
    body = {"url": receiver.url(), "events": ["*"]}
    assert acme.as_user("ana")("POST", "/v1/webhooks", body).status_code == 403


def test_the_log_is_read_in_pages_the_newest_first(acme: Caller, receiver: Receiver) -> None:
    webhook = subscribe(acme, receiver, "message.accepted")
    talk = acme.conversation("ana", "bruno")
    said = [acme.send(talk, "ana", f"{n}")["message_id"] for n in range(5)]
    eventually(lambda: len(deliveries(acme, webhook, status="delivered")) == 5)
    pages, cursor = [], None
    while cursor is not None or not pages:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = acme.must("GET", path_of(webhook, "deliveries"), params=query)
        pages.append([one["delivery_id"] for one in page["items"]])
        cursor = page["next_cursor"]
    assert [len(page) for page in pages] == [2, 2, 1]
    told = [
        json.loads(acme.must("GET", path_of(webhook, "deliveries", one))["body"])["data"]["message_id"]
        for page in pages
        for one in page
    ]
    assert told == said[::-1]
    wrong = acme("GET", path_of(webhook, "deliveries"), params={"cursor": "bm9uc2Vuc2U"})
    assert wrong.status_code == 422
    assert acme("GET", path_of(webhook, "deliveries", fresh_id())).status_code == 404


def test_a_message_of_a_customer_is_told_with_what_they_wrote(shop: Caller, providers: Any, receiver: Receiver) -> None:
    webhook = subscribe(shop, receiver, "message.received", "message.sent", "message.delivered")
    providers.writes("whatsapp", "+5511912347777", "is anybody there?", name=f"Vera {CANARY}")
    (received,) = eventually(lambda: receiver.of("message.received"))
    data = received.document["data"]
    assert (data["payload"], data["channel"]) == (text("is anybody there?"), "whatsapp")
    assert holds(webhook["secret"], received)
    assert httpx.get(receiver.url()).status_code == 501, "a receiver of POSTs only"
    shop.must("DELETE", path_of(webhook))
