"""
Conversations and who is in them, as members see it (A2 to A5); users and their identities (C2).
"""

from collections.abc import Callable
from typing import Any

import httpx

from shared.testing.live import CANARY, Caller, text


def refused(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_same_two_have_one_private_conversation(acme: Caller) -> None:
    first = acme("POST", "/v1/conversations", {"type": "private", "members": ["ana", "bruno"]})
    again = acme("POST", "/v1/conversations", {"type": "private", "members": ["bruno", "ana"]})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert set(first.json()) == {"conversation_id", "type", "members", "created_at", "metadata"}
    assert sorted(first.json()["members"]) == ["ana", "bruno"]


def test_what_no_conversation_can_be_made_of(acme: Caller) -> None:
    for body in (
        {"type": "private", "members": ["ana"]},
        {"type": "private", "members": ["ana", "ana"]},
        {"type": "private", "members": ["ana", "bruno", "clara"]},
        {"type": "private", "members": ["ana", "nobody"]},
        {"type": "group", "members": []},
        {"type": "group", "members": ["nobody"]},
        {"type": "channel", "members": ["ana", "bruno"]},
        {"type": "group", "members": ["ana"], "metadata": {"n": 1}},
        {"type": "group", "members": ["ana"], "conversation_id": "a/b"},
        {"members": ["ana", "bruno"]},
    ):
        refused(acme("POST", "/v1/conversations", body), 422)
    assert acme.acting("ana").must("GET", "/v1/conversations")["items"] == []


def test_a_conversation_id_of_ones_own_is_taken_once(acme: Caller) -> None:
    group = {"type": "group", "members": ["ana", "bruno"], "conversation_id": "order-4711"}
    assert acme("POST", "/v1/conversations", group).status_code == 201
    assert acme("POST", "/v1/conversations", group).status_code == 200
    refused(acme("POST", "/v1/conversations", {**group, "type": "private", "members": ["ana", "clara"]}), 409)


def test_members_come_and_go_and_the_timeline_says_so(acme: Caller) -> None:
    group = acme.conversation("ana", "bruno", type="group", metadata={"name": CANARY})
    path, ana, bruno = f"/v1/conversations/{group}/members", acme.acting("ana"), acme.as_user("bruno")
    refused(acme.acting("clara")("POST", path, {"user_id": "clara"}), 403)
    refused(acme("POST", "/v1/messages", {"conversation_id": group, "from": "clara", "payload": text()}), 403)
    added = ana("POST", path, {"user_id": "clara"})
    assert (added.status_code, sorted(added.json()["members"])) == (201, ["ana", "bruno", "clara"])
    acme.send(group, "clara", "hello")
    assert bruno("DELETE", f"{path}/bruno").status_code == 204
    refused(bruno("GET", f"/v1/conversations/{group}"), 404)
    refused(acme("POST", "/v1/messages", {"conversation_id": group, "from": "bruno", "payload": text()}), 403)
    assert ana("DELETE", f"{path}/clara").status_code == 204
    refused(ana("DELETE", f"{path}/clara"), 404)
    refused(ana("POST", path, {"user_id": "nobody"}), 422)
    payloads = [one["payload"] for one in acme.history(group)]
    assert payloads == [
        {"type": "system", "action": "added", "user_id": "clara", "by": "ana"},
        text("hello"),
        {"type": "system", "action": "left", "user_id": "bruno", "by": "bruno"},
        {"type": "system", "action": "removed", "user_id": "clara", "by": "ana"},
    ]
    assert [one["seq"] for one in acme.history(group)] == [1, 2, 3, 4]


def test_a_private_conversation_keeps_its_two(acme: Caller) -> None:
    talk = acme.conversation("ana", "bruno")
    refused(acme.acting("ana")("POST", f"/v1/conversations/{talk}/members", {"user_id": "clara"}), 409)
    refused(acme.acting("ana")("DELETE", f"/v1/conversations/{talk}/members/bruno"), 409)
    refused(acme.acting("ana")("DELETE", f"/v1/conversations/{talk}/members/ana"), 409)


def test_the_list_is_in_the_order_of_activity_with_the_last_message_and_what_is_unread(acme: Caller) -> None:
    quiet = acme.conversation("ana", "bruno")
    busy = acme.conversation("ana", "clara")
    group = acme.conversation("ana", "bruno", "clara")
    acme.send(quiet, "bruno", "first")
    acme.send(group, "clara", "second")
    last = acme.send(busy, "clara", "third")
    acme.send(quiet, "ana", "fourth")
    mine = acme.acting("ana").must("GET", "/v1/conversations")["items"]
    assert [one["conversation_id"] for one in mine] == [quiet, busy, group]
    assert [one["unread_count"] for one in mine] == [1, 1, 1]
    assert mine[1]["last_message"] == {
        "seq": 1,
        "from": "clara",
        "preview": text("third")["text"],
        "sent_at": mine[1]["last_message"]["sent_at"],
    }
    acme.acting("ana").must("POST", f"/v1/messages/{last['message_id']}/read")
    acme.acting("ana").must("PUT", f"/v1/conversations/{quiet}/read", {"seq": 2})
    unread = {one["conversation_id"]: one["unread_count"] for one in acme.as_user("ana").must(
        "GET", "/v1/conversations")["items"]}  # fmt: skip
    assert unread == {quiet: 0, busy: 0, group: 1}
    assert acme.acting("bruno").must("GET", f"/v1/conversations/{quiet}")["unread_count"] == 1
    refused(acme("GET", "/v1/conversations"), 422)


def test_the_list_of_nobody_is_no_empty_list(acme: Caller) -> None:
    assert acme.acting("clara").must("GET", "/v1/conversations")["items"] == []
    for nobody in ("ghost", "Bad Name!!"):
        refused(acme.acting(nobody)("GET", "/v1/conversations"), 404)
        refused(acme.acting(nobody)("POST", "/v1/conversations", {"type": "group", "members": ["ana"]}), 404)


def test_the_list_pages(acme: Caller) -> None:
    made = [acme.conversation("ana", "bruno", type="group") for _ in range(7)]
    found: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = acme.acting("ana").must("GET", "/v1/conversations", params={"limit": 3, **cursor})
        found += [one["conversation_id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(found) == sorted(made)
    refused(acme.acting("ana")("GET", "/v1/conversations", params={"cursor": "rubbish"}), 422)


def test_metadata_can_be_changed_by_members(acme: Caller) -> None:
    group = acme.conversation("ana", "bruno", type="group")
    path = f"/v1/conversations/{group}"
    changed = acme.acting("ana").must("PATCH", path, {"metadata": {"name": CANARY}})
    assert changed["metadata"] == {"name": CANARY}
    assert acme.acting("bruno").must("GET", path)["metadata"] == {"name": CANARY}
    refused(acme.acting("clara")("PATCH", path, {"metadata": {}}), 404)


def test_a_user_is_made_found_changed_and_erased(new_tenant: Callable[[], Caller]) -> None:
    tenant = new_tenant()
    body = {"user_id": "davi", "display_name": CANARY, "metadata": {"plan": "gold"}}
    assert [tenant("POST", "/v1/users", body).status_code for _ in range(2)] == [201, 200]
    refused(tenant("POST", "/v1/users", {**body, "display_name": "Other"}), 409)
    changed = tenant.must("PATCH", "/v1/users/davi", {"metadata": {"plan": None, "city": "x"}})
    assert (changed["display_name"], changed["metadata"]) == (CANARY, {"city": "x"})
    link = tenant(
        "POST", "/v1/users/davi/channels", {"channel_type": "whatsapp", "channel_identifier": "+5511955554444"}
    )
    assert link.status_code == 201
    tenant.users("eva")
    refused(tenant("POST", "/v1/users/eva/channels", {"channel": "whatsapp", "identifier": "+55 11 95555-4444"}), 409)
    refused(tenant("POST", "/v1/users/eva/channels", {"channel": "whatsapp", "identifier": "12"}), 422)
    assert CANARY in tenant("GET", "/v1/users/davi").text
    tenant.must("DELETE", "/v1/users/davi")
    assert CANARY not in tenant("GET", "/v1/users/davi").text
    assert tenant("POST", "/v1/users/eva/channels", {"channel": "whatsapp", "identifier": "+5511955554444"}).is_success
