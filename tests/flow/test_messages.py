"""
A message from its sender to its readers, through HTTP alone: sent, numbered, read, repeated, expired.

Requirements: A1, A2, A6 to A11, A15, E1, E2; the table of api.md under Messages.
"""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from shared.testing.live import CANARY, Caller, eventually, fresh_id, text

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def problem(answer: Any, status: int, code: str, pointer: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert said["type"] == f"https://chat4all.dev/problems/{code}"
    assert {"type", "title", "status", "detail", "instance", "trace_id"} <= set(said)
    if pointer is not None:
        assert pointer in [one["pointer"] for one in said["errors"]], said
    return said


def test_an_idempotency_key_stands_for_a_message_id(acme: Caller) -> None:
    acme.users("ana", "bruno")
    talk = acme.conversation("ana", "bruno")
    key = {"idempotency-key": fresh_id()}
    once = acme("POST", "/v1/messages", body(talk), headers=key)
    again = acme("POST", "/v1/messages", body(talk), headers=key)
    assert (once.status_code, again.status_code) == (202, 202)
    assert again.json() == once.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = acme("POST", "/v1/messages", body(talk, payload=text("something else")), headers=key)
    assert "Idempotency-Key" in problem(other, 409, "conflict")["detail"]
    named = acme("POST", "/v1/messages", body(talk, message_id=once.json()["message_id"]), headers=key)
    assert named.status_code == 202, "the same content"
    named = acme(
        "POST", "/v1/messages", body(talk, message_id=once.json()["message_id"], payload=text("x")), headers=key
    )
    assert "message_id" in problem(named, 409, "conflict")["detail"]


def test_the_body_must_be_a_json_object_and_say_so(acme: Caller) -> None:
    for came in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = acme("POST", "/v1/messages", content=b"{}", headers={"content-type": came} if came else {})
        assert came in problem(answer, 415, "unsupported-media-type")["detail"]
    said = problem(acme("POST", "/v1/messages", []), 422, "invalid")["detail"]
    assert "no object" in said and "Content-Type" not in said


def body(conversation: str, **changes: Any) -> dict[str, Any]:
    return {"conversation_id": conversation, "from": "ana", "payload": text(), **changes}


@pytest.fixture(scope="module")
def quiet(new_tenant: Callable[[], Caller]) -> Caller:
    """A tenant in which no message is ever accepted."""
    caller = new_tenant()
    caller.users("ana", "bruno")
    return caller


def test_two_users_talk_and_history_shows_both_at_once(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    first = acme.send(talk, "ana", "oi, Bruno")
    second = acme.send(talk, "bruno", "oi, Ana")
    assert first == {"status": "accepted", "message_id": first["message_id"], "conversation_id": talk, "seq": 1}
    assert second["seq"] == 2
    shown = acme.history(talk)
    assert [(one["seq"], one["from"], one["payload"]) for one in shown] == [
        (1, "ana", text("oi, Bruno")),
        (2, "bruno", text("oi, Ana")),
    ]
    assert shown[0] == {
        "seq": 1,
        "message_id": first["message_id"],
        "conversation_id": talk,
        "from": "ana",
        "to": None,
        "channels": ["chat4all"],
        "payload": text("oi, Bruno"),
        "metadata": {},
        "reply_to": None,
        "created_at": shown[0]["created_at"],
        "expires_at": None,
        "origin": None,
        "status": "SENT",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown[0]["created_at"])


def test_everything_that_a_sender_may_say_comes_back(acme: Caller) -> None:
    group = acme.conversation("ana", "bruno", "clara")
    asked = acme.send(group, "bruno", "a question")
    answered = acme.send(
        group, "ana", to="bruno", metadata={"priority": "high"}, reply_to=asked["message_id"], ttl_seconds=3600,
        request_read_receipt=True, channels=["chat4all"],
    )  # fmt: skip
    shown = acme.must("GET", f"/v1/messages/{answered['message_id']}")
    assert (shown["to"], shown["metadata"], shown["reply_to"]) == (["bruno"], {"priority": "high"}, asked["message_id"])
    assert shown["expires_at"] > shown["created_at"]


def test_media_by_url_is_a_message_too(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    picture = {"type": "media", "media_type": "image", "url": "https://example.org/cat.jpg", "caption": CANARY}
    acme.send(talk, "ana", payload=picture)
    assert acme.history(talk)[0]["payload"] == picture


def test_a_batch_is_numbered_in_its_order_and_one_bad_item_fails_alone(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    items = [body(talk, payload=text(f"{n}")) for n in range(20)]
    items[7] = body(talk, payload={"type": "text", "text": ""})
    items[11] = {"nonsense": 1}
    items[13] = body(UNKNOWN)
    results = acme.must("POST", "/v1/messages/batch", {"messages": items})["results"]
    assert [one["status"] for one in results] == ["rejected" if n in (7, 11, 13) else "accepted" for n in range(20)]
    assert [one["seq"] for one in results if one["status"] == "accepted"] == list(range(1, 18))
    assert [results[n]["problem"]["status"] for n in (7, 11, 13)] == [422, 422, 404]
    assert [one["payload"]["text"] for one in acme.history(talk)] == [
        text(f"{n}")["text"] for n in range(20) if n not in (7, 11, 13)
    ]


def test_a_batch_has_1_to_500_items(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    problem(acme("POST", "/v1/messages/batch", {"messages": []}), 422, "invalid", "/messages")
    problem(acme("POST", "/v1/messages/batch", {"messages": [body(talk)] * 501}), 422, "invalid", "/messages")
    many = acme.must("POST", "/v1/messages/batch", {"messages": [body(talk)] * 500})["results"]
    assert [one.get("seq", one) for one in many] == list(range(1, 501))


def test_history_pages_forwards_and_backwards(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    acme.must("POST", "/v1/messages/batch", {"messages": [body(talk)] * 25})
    path = f"/v1/conversations/{talk}/messages"

    def seqs(**query: Any) -> list[int]:
        return [one["seq"] for one in acme.history(talk, **query)]

    assert seqs() == list(range(1, 26))
    assert seqs(since=23) == [24, 25]
    assert seqs(since=25) == []
    assert seqs(since=10, limit=3) == [11, 12, 13]
    assert seqs(before=10, limit=3) == [7, 8, 9]
    assert seqs(before=3) == [1, 2]
    assert seqs(before=2**53) == list(range(1, 26))
    for query in ({"limit": 10}, {"limit": 10, "before": 26}):
        pages, cursor = [], None
        while True:
            page = acme.must("GET", path, params=query if cursor is None else {"limit": 10, "cursor": cursor})
            pages.append([one["seq"] for one in page["items"]])
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert sorted(seq for page in pages for seq in page) == list(range(1, 26))
        assert all(page == sorted(page) for page in pages)
    for bad in ({"limit": 0}, {"limit": 201}, {"since": -1}, {"before": 0}, {"since": "x"}, {"cursor": "rubbish"}):
        problem(acme("GET", path, params=bad), 422, "invalid")


def test_the_same_message_id_is_the_same_message_however_often_it_is_sent(acme: Caller) -> None:
    talk, mine = acme.conversation("ana", "bruno"), fresh_id()
    first = acme("POST", "/v1/messages", body(talk, message_id=mine))
    assert "idempotent-replayed" not in first.headers
    for spelling in (mine, mine.upper()):
        again = acme("POST", "/v1/messages", body(talk, message_id=spelling))
        assert again.status_code == 202
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json() == first.json()
    in_batch = acme.must("POST", "/v1/messages/batch", {"messages": [body(talk, message_id=mine)] * 2})["results"]
    assert [one["seq"] for one in in_batch] == [1, 1]
    assert len(acme.history(talk)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"payload": text("something else")},
        {"from": "bruno"},
        {"metadata": {"priority": "high"}},
        {"to": ["bruno"]},
        {"ttl_seconds": 60},
        {"channels": ["whatsapp"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_same_message_id_with_other_content_is_a_conflict(acme: Caller, change: dict[str, Any]) -> None:
    talk, mine = acme.conversation("ana", "bruno"), fresh_id()
    acme.must("POST", "/v1/messages", body(talk, message_id=mine))
    problem(acme("POST", "/v1/messages", body(talk, message_id=mine, **change)), 409, "conflict")
    assert len(acme.history(talk)) == 1


def test_a_message_id_belongs_to_one_conversation(acme: Caller) -> None:
    one, other, mine = acme.conversation("ana", "bruno"), acme.conversation("ana", "clara"), fresh_id()
    acme.must("POST", "/v1/messages", body(one, message_id=mine))
    problem(acme("POST", "/v1/messages", body(other, message_id=mine)), 409, "conflict")
    assert acme.history(other) == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"message_id": "no uuid"}, "/message_id"),
        ({"payload": {"type": "text", "text": ""}}, "/payload/text"),
        ({"payload": {"type": "text", "text": " \n\t"}}, "/payload/text"),
        ({"payload": {"type": "text", "text": "x" * 65_537}}, "/payload/text"),
        ({"payload": {"type": "text"}}, "/payload/text"),
        ({"payload": {"type": "dance"}}, "/payload"),
        ({"payload": {"type": "file", "file_id": "none"}}, "/payload/file_id"),
        ({"payload": {"type": "system", "action": "joined", "user_id": "a", "by": "a"}}, "/payload"),
        ({"payload": None}, "/payload"),
        ({"channels": ["fax"]}, "/channels/0"),
        ({"channels": ["all", "whatsapp"]}, "/channels"),
        ({"channels": []}, "/channels"),
        ({"to": []}, "/to"),
        ({"to": ["stranger"]}, "/to"),
        ({"to": ["fax:+5511999998888"]}, "/to/0"),
        ({"to": ["bruno", "whatsapp:not a number"]}, "/to/1"),
        ({"metadata": {"n": 1}}, "/metadata/n"),
        ({"metadata": {str(n): "x" for n in range(51)}}, "/metadata"),
        ({"metadata": {"name": "x" * 2001}}, "/metadata/name"),
        ({"ttl_seconds": 0}, "/ttl_seconds"),
        ({"ttl_seconds": "60"}, "/ttl_seconds"),
        ({"ttl_seconds": 10**30}, "/ttl_seconds"),
        ({"reply_to": "no uuid"}, "/reply_to"),
        ({"request_read_receipt": "yes"}, "/request_read_receipt"),
        ({"unknown_field": 1}, "/unknown_field"),
        ({"from": 7}, "/from"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_cannot_be_sent_is_422_and_the_error_points_at_it(
    quiet: Caller, change: dict[str, Any], pointer: str
) -> None:
    talk = quiet.conversation("ana", "bruno")
    problem(quiet("POST", "/v1/messages", body(talk, **change)), 422, "invalid", pointer)
    assert quiet.history(talk) == []


def test_who_may_send_where(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    problem(acme("POST", "/v1/messages", body(UNKNOWN)), 404, "not-found")
    problem(acme("POST", "/v1/messages", body(talk, **{"from": "clara"})), 403, "not-a-member")
    problem(acme("POST", "/v1/messages", body(talk, **{"from": None})), 422, "invalid")
    ana, clara = acme.as_user("ana"), acme.as_user("clara")
    problem(ana("POST", "/v1/messages", body(talk, **{"from": "bruno"})), 403, "forbidden")
    problem(clara("POST", "/v1/messages", body(talk, **{"from": "clara"})), 403, "not-a-member")
    nameless = {name: value for name, value in body(talk).items() if name != "from"}
    assert ana.must("POST", "/v1/messages", nameless)["seq"] == 1
    assert acme.history(talk)[0]["from"] == "ana"
    assert acme("POST", "/v1/messages", body(talk), headers={"authorization": "Bearer x"}).status_code == 401


def test_a_message_over_the_size_limit_is_413(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    large = body(talk, metadata={"x": "y" * 600_000})
    problem(acme("POST", "/v1/messages", large), 413, "too-large")


def test_only_members_read(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    said = acme.send(talk, "ana")["message_id"]
    for outsider in (acme.acting("clara"), acme.as_user("clara")):
        for path in (f"/v1/conversations/{talk}", f"/v1/conversations/{talk}/messages", f"/v1/messages/{said}",
                     f"/v1/messages/{said}/status", f"/v1/messages/{said}/status/history"):  # fmt: skip
            problem(outsider("GET", path), 404, "not-found")
        problem(outsider("POST", f"/v1/messages/{said}/read"), 404, "not-found")
    problem(acme.as_user("ana").acting("bruno")("GET", f"/v1/messages/{said}"), 403, "forbidden")
    assert acme.as_user("bruno").must("GET", f"/v1/messages/{said}")["payload"] == text()


def test_delivered_then_read_and_never_back(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    said = acme.send(talk, "ana")["message_id"]
    bruno = acme.as_user("bruno")
    assert acme.status(said) == "SENT"
    for call, status in (("delivered", "DELIVERED"), ("read", "READ"), ("delivered", "READ"), ("read", "READ")):
        assert bruno("POST", f"/v1/messages/{said}/{call}").status_code == 202
        assert acme.status(said) == status
    assert acme.steps(said) == [
        ("chat4all", "SENT", "send"),
        ("chat4all", "DELIVERED", "client"),
        ("chat4all", "READ", "client"),
    ]
    timestamps = [step["timestamp"] for step in acme.must("GET", f"/v1/messages/{said}/status/history")]
    assert timestamps == sorted(timestamps)
    problem(acme.acting("ana")("POST", f"/v1/messages/{said}/read"), 422, "invalid")
    problem(acme("POST", f"/v1/messages/{said}/read"), 422, "invalid")
    problem(bruno("POST", f"/v1/messages/{UNKNOWN}/read"), 404, "not-found")


def test_reading_implies_delivery(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    said = acme.send(talk, "ana")["message_id"]
    acme.acting("bruno").must("POST", f"/v1/messages/{said}/read")
    assert [status for _, status, _ in acme.steps(said)] == ["SENT", "DELIVERED", "READ"]


def test_a_group_has_read_it_when_all_have(acme: Caller) -> None:
    group = acme.conversation("ana", "bruno", "clara")
    said = acme.send(group, "ana")["message_id"]
    acme.acting("bruno").must("POST", f"/v1/messages/{said}/read")
    assert acme.status(said) == "SENT"
    acme.acting("clara").must("POST", f"/v1/messages/{said}/delivered")
    assert acme.status(said) == "DELIVERED"
    by_recipient = {one["recipient"]: one["status"] for one in acme.must("GET", f"/v1/messages/{said}")["deliveries"]}
    assert by_recipient == {"bruno": "READ", "clara": "DELIVERED"}


def test_reading_a_conversation_up_to_a_number_reads_all_before(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    said = [acme.send(talk, "ana", f"{n}")["message_id"] for n in range(5)]
    bruno = acme.acting("bruno")
    bruno.must("PUT", f"/v1/conversations/{talk}/read", {"seq": 3})
    assert [acme.status(one) for one in said] == ["READ", "READ", "READ", "SENT", "SENT"]
    bruno.must("PUT", f"/v1/conversations/{talk}/read", {"seq": 2})
    assert [one["status"] for one in acme.history(talk)] == ["READ", "READ", "READ", "SENT", "SENT"]
    for seq in (0, 6, -1, "3", 2.5, True, None):
        problem(bruno("PUT", f"/v1/conversations/{talk}/read", {"seq": seq}), 422, "invalid", "/seq")
    problem(acme.acting("clara")("PUT", f"/v1/conversations/{talk}/read", {"seq": 1}), 404, "not-found")


def test_receipts_are_told_to_those_who_asked(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    quiet = acme.send(talk, "ana")["message_id"]
    asked = acme.send(talk, "ana", request_delivery_receipt=True, request_read_receipt=True)["message_id"]
    acme.acting("bruno").must("PUT", f"/v1/conversations/{talk}/read", {"seq": 2})

    def told(message_id: str) -> set[str]:
        return {event["type"] for event in acme.chain(message_id)} - {
            "chat4all.message.accepted.v1",
            "chat4all.receipt.reported.v1",
        }

    eventually(lambda: told(asked) == {"chat4all.message.delivered.v1", "chat4all.message.read.v1"})
    assert told(quiet) == set()


def test_an_expired_payload_is_gone_and_its_number_stays(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    acme.send(talk, "ana", "stays")
    brief = acme.send(talk, "ana", "goes", ttl_seconds=3)
    acme.send(talk, "ana", "stays too")
    assert acme.history(talk)[1]["payload"] == text("goes")
    eventually(lambda: acme.history(talk)[1]["payload"] is None)
    assert [one["seq"] for one in acme.history(talk)] == [1, 2, 3]
    assert acme.must("GET", f"/v1/messages/{brief['message_id']}")["payload"] is None
    last = acme.acting("bruno").must("GET", "/v1/conversations")["items"][0]["last_message"]
    assert last["preview"].startswith("stays too")


def _event(talk: str, event_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": "/integrations/crm",
        "type": "chat4all.message.send.requested.v1",
        "datacontenttype": "application/json",
        "data": {"conversation_id": talk, "from": "ana", "payload": text("by event")},
        **changes,
    }


def test_a_cloudevent_sends_and_its_id_is_the_idempotency_key(acme: Caller) -> None:
    talk, mine = acme.conversation("ana", "bruno"), fresh_id()
    structured = {"content-type": "application/cloudevents+json"}
    for _ in range(3):
        answer = acme("POST", "/v1/events", content=json.dumps(_event(talk, mine)), headers=structured)
        assert (answer.status_code, answer.json()) == (202, {"status": "accepted", "id": mine})
    eventually(lambda: acme.history(talk))
    binary = {"ce-specversion": "1.0", "ce-id": "order 4711".replace(" ", "%20"), "ce-source": "/crm",
              "ce-type": "chat4all.message.send.requested.v1", "content-type": "application/json"}  # fmt: skip
    data = json.dumps({"conversation_id": talk, "from": "bruno", "payload": text("binary")})
    assert acme("POST", "/v1/events", content=data, headers=binary).json()["id"] == "order 4711"
    eventually(lambda: len(acme.history(talk)) == 2)
    assert [(one["seq"], one["from"]) for one in acme.history(talk)] == [(1, "ana"), (2, "bruno")]
    assert acme.history(talk)[0]["message_id"] == mine


def test_events_that_may_not_come_from_outside_are_422(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    structured = {"content-type": "application/cloudevents+json"}
    bad: list[Any] = [
        _event(talk, "1", type="chat4all.message.accepted.v1"),
        _event(talk, "1", type="com.example.unknown"),
        _event(talk, ""),
        _event(talk, "1", specversion="3.0"),
        _event(talk, "1", data={"conversation_id": talk}),
        _event(talk, "1", data={"conversation_id": talk, "from": "ana", "payload": {"type": "dance"}}),
        _event(talk, "1", data=None),
        _event(talk, "1", data=None, data_base64=base64.b64encode(b"\xff").decode()),
        _event(talk, "1", time="yesterday"),
        _event(talk, "1", Upper="case"),
        [],
    ]
    for event in bad:
        answer = acme("POST", "/v1/events", content=json.dumps(event), headers=structured)
        problem(answer, 422, "invalid")
    problem(acme("POST", "/v1/events", content=b"[]", headers={"content-type": "application/cloudevents-batch+json"}),
            422, "invalid")  # fmt: skip
    other = json.dumps(_event(talk, "1"))
    problem(acme.as_user("bruno")("POST", "/v1/events", content=other, headers=structured), 422, "invalid")


def test_a_client_gets_a_token_in_every_way_of_the_standard(acme: Caller) -> None:
    client_id, secret = acme.credentials
    http = acme.http
    for answer in (
        http.post("/auth/token", json={"client_id": client_id, "client_secret": secret}),
        http.post("/auth/token", data={"client_id": client_id, "client_secret": secret}),
        http.post("/auth/token", data={"grant_type": "client_credentials"}, auth=(client_id, secret)),
    ):
        assert answer.status_code == 200
        token = answer.json()
        assert (token["token_type"], token["expires_in"]) == ("bearer", 3600)
        assert http.get("/v1/users", headers={"authorization": f"Bearer {token['access_token']}"}).status_code == 200
    problem(http.post("/auth/token", json={"client_id": client_id, "client_secret": "wrong"}), 401, "unauthenticated")
    problem(http.post("/auth/token", json={"client_id": "nobody", "client_secret": "x"}), 401, "unauthenticated")
    problem(http.post("/auth/token", content=b""), 422, "invalid", "/client_id")
    problem(http.get("/v1/users"), 401, "unauthenticated")


def test_an_idempotency_key_makes_any_other_post_one(acme: Caller) -> None:
    group = {"type": "group", "members": ["ana", "bruno"], "metadata": {"name": CANARY}}
    key = {"idempotency-key": fresh_id()}
    first = acme("POST", "/v1/conversations", group, headers=key)
    again = acme("POST", "/v1/conversations", group, headers=key)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    problem(acme("POST", "/v1/conversations", {**group, "metadata": {}}, headers=key), 422, "invalid")


def test_an_idempotency_key_makes_a_batch_one_also_without_message_ids(acme: Caller) -> None:
    talk, key = acme.conversation("ana", "bruno"), {"idempotency-key": fresh_id()}
    sent = [acme.must("POST", "/v1/messages/batch", {"messages": [body(talk)] * 2}, headers=key) for _ in range(2)]
    assert sent[0] == sent[1]
    assert len(acme.history(talk)) == 2


def test_the_log_of_events_is_followed_by_cursor_as_by_after(acme: Caller) -> None:
    acme.send(acme.conversation("ana", "bruno"), "ana")
    first = acme.must("GET", "/v1/events", params={"after": 0, "limit": 1})
    by_cursor, by_after = (
        acme.must("GET", "/v1/events", params={name: first["next_cursor"], "limit": 1}) for name in ("cursor", "after")
    )
    assert by_cursor == by_after
    assert int(by_cursor["next_cursor"]) > int(first["next_cursor"])
