"""
No tenant finds another's rows, whatever it asks for (E12; reliability.md 5.3, I8).

Every operation of the OpenAPI document is walked, so a new route is walked by itself: with the ids of tenant A in
path, query, header and body, by tenant B, by a user of B, by a user of A who is no member, and by nobody. The
oracle is twofold: no canary of A in what is answered, and the answer is that for an id that exists nowhere.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from shared.testing.export import openapi
from shared.testing.live import Caller, Process, Providers, eventually, fresh_id

DOCUMENT = openapi()
MARK = "mine-alone"
"""In every id, name and text of tenant A."""
NOWHERE = "nowhere-at-all"
OPEN = {"/auth/token", "/.well-known/jwks.json", "/metrics", "/health", "/health/live", "/health/ready"}
WEBHOOKS = "/v1/inbound/"
STREAM = "/v1/stream"
"""It ends only when its reader goes: who may read what on it is in test_realtime.py."""


@dataclass(frozen=True)
class Belongings:
    """What tenant A has: an id for each name that a path, a query or a body may ask for."""

    caller: Caller
    ids: dict[str, str]
    trace_id: str
    cursor: str


def operations() -> Iterator[tuple[str, str]]:
    for path, methods in DOCUMENT["paths"].items():
        for method in methods:
            if path not in OPEN and path != STREAM and not path.startswith(WEBHOOKS):
                yield method.upper(), path


@pytest.fixture(scope="module")
def mine(new_tenant: Callable[[], Caller], platform: Process) -> Iterator[Belongings]:
    a = new_tenant()
    with Providers(a.tenant, platform.url) as providers:
        providers.start("--pace", "0.02").enter(a)
        yield belongings(a, providers.accounts["whatsapp"]["account_id"])


def belongings(a: Caller, account_id: str) -> Belongings:
    for user in (f"ana-{MARK}", f"bruno-{MARK}", f"eve-{MARK}"):
        a.must("POST", "/v1/users", {"user_id": user, "display_name": MARK, "metadata": {"note": MARK}})
    number = "+5511987699001"
    a.must("POST", f"/v1/users/bruno-{MARK}/channels", {"channel": "whatsapp", "identifier": number})
    talk = a.conversation(f"ana-{MARK}", f"bruno-{MARK}", type="group", conversation_id=f"talk-{MARK}")
    payload = {"type": "text", "text": f"secret {MARK}"}
    answer = a("POST", "/v1/messages", {"conversation_id": talk, "from": f"ana-{MARK}", "payload": payload})
    said, trace_id = answer.json(), answer.headers["traceparent"].split("-")[1]
    rule = a.must("POST", "/v1/routing-rules", {
        "match": {"channel": "whatsapp", "from": number}, "action": {"type": "conversation", "conversation_id": talk},
    })  # fmt: skip
    file = a.acting(f"ana-{MARK}").must("POST", "/v1/files/initiate", {
        "filename": f"{MARK}.bin", "content_type": "text/plain", "size": 5, "conversation_id": talk,
    })  # fmt: skip
    event = {"specversion": "1.0", "id": fresh_id(), "source": "/crm", "type": "chat4all.message.send.requested.v1",
             "data": {"conversation_id": NOWHERE, "from": f"ana-{MARK}", "payload": payload}}  # fmt: skip
    a("POST", "/v1/events", content=json.dumps(event), headers={"content-type": "application/cloudevents+json"})
    (parked,) = eventually(lambda: a.must("GET", "/v1/parked")["items"])
    page = a.must("GET", f"/v1/conversations/{talk}/messages", params={"limit": 1})
    hook = {"url": "http://127.0.0.1:9/", "events": ["message.accepted"], "description": MARK}
    webhook = a.must("POST", "/v1/webhooks", hook)
    told = a.conversation(f"ana-{MARK}", f"bruno-{MARK}", type="group", conversation_id=f"told-{MARK}")
    a.must("POST", "/v1/messages", {"conversation_id": told, "from": f"ana-{MARK}", "payload": payload})
    deliveries = f"/v1/webhooks/{webhook['webhook_id']}/deliveries"
    (delivery,) = eventually(lambda: a.must("GET", deliveries)["items"])
    ids = {
        "user_id": f"ana-{MARK}",
        "conversation_id": talk,
        "message_id": said["message_id"],
        "rule_id": rule["rule_id"],
        "file_id": file["file_id"],
        "parked_id": parked["parked_id"],
        "webhook_id": webhook["webhook_id"],
        "delivery_id": delivery["delivery_id"],
        "channel": "whatsapp",
        "account_id": account_id,
        "identifier": number,
    }
    return Belongings(a, ids, trace_id, page["next_cursor"])


@pytest.fixture(scope="module")
def stranger(new_tenant: Callable[[], Caller]) -> Caller:
    """Tenant B, with a user who has the same user_id as none of A's."""
    b = new_tenant()
    b.users("zoe", "yan")
    return b


def bodies(path: str, mine: Belongings) -> list[Any]:
    """Bodies, and queries of /v1/events, that name what is A's, for the operation that is asked."""
    ids = mine.ids
    text = {"type": "text", "text": "x"}
    message = {"conversation_id": ids["conversation_id"], "from": ids["user_id"], "payload": text}
    return {
        "/v1/users/{user_id}/tokens": [None],
        "/v1/users": [{"user_id": "zoe"}],
        "/v1/users/{user_id}": [{"display_name": "taken over"}],
        "/v1/users/{user_id}/channels": [{"channel": "whatsapp", "identifier": "+5511911110000"}],
        "/v1/conversations": [
            {"type": "private", "members": ["zoe", ids["user_id"]]},
            {"type": "group", "members": [ids["user_id"]]},
        ],
        "/v1/conversations/{conversation_id}": [{"metadata": {"name": "taken over"}}],
        "/v1/conversations/{conversation_id}/members": [{"user_id": "zoe"}, {"user_id": ids["user_id"]}],
        "/v1/conversations/{conversation_id}/read": [{"seq": 1}],
        "/v1/messages": [
            message,
            {**message, "from": "zoe"},
            {**message, "from": "zoe", "message_id": ids["message_id"]},
        ],
        "/v1/messages/batch": [{"messages": [message, {**message, "from": "zoe"}]}],
        "/v1/files/initiate": [
            {"filename": "a", "content_type": "text/plain", "size": 5, "conversation_id": ids["conversation_id"]}
        ],
        "/v1/files/complete": [{"file_id": ids["file_id"], "checksum": "0" * 64}],
        "/v1/files/{file_id}/complete": [{"checksum": "0" * 64}],
        "/v1/channels/{channel}/accounts/{account_id}": [{"settings": {}, "secrets": {}, "enabled": False}],
        "/v1/routing-rules": [
            {
                "match": {"channel": "whatsapp"},
                "action": {"type": "conversation", "conversation_id": ids["conversation_id"]},
            },
            {"match": {"channel": "whatsapp"}, "action": {"type": "conversation", "with": ids["user_id"]}},
        ],
        "/v1/routing-rules/{rule_id}": [{"priority": 1}],
        "/v1/webhooks": [{"url": "http://127.0.0.1:9/", "events": ["*"]}],
        "/v1/webhooks/{webhook_id}": [{"description": "taken over", "enabled": False}],
        "/v1/webhooks/{webhook_id}/replay": [{"since": "2026-01-01T00:00:00Z", "status": "all"}],
        "/v1/events": [
            {"trace_id": mine.trace_id},
            {"message_id": ids["message_id"]},
            {"after": 0, "limit": 200},
            {"limit": 200},
        ],
    }.get(path, [None])


def asked(caller: Caller, method: str, path: str, mine: Belongings, body: Any, ids: dict[str, str]) -> httpx.Response:
    query = body if path == "/v1/events" else {"cursor": mine.cursor} if path.endswith("/messages") else {}
    if method == "GET" or method == "DELETE":
        body = None
    return caller(method, path.format_map(ids), body, params=query if method == "GET" else {})


# What B may do with an id of A's without learning or changing anything of A's: the id is then B's own.
FREE = {
    ("PUT", "/v1/channels/{channel}/accounts/{account_id}"),
    ("GET", "/v1/channels/{channel}/accounts"),
    ("GET", "/v1/channels"),
    ("GET", "/v1/triggers"),
    ("GET", "/v1/users"),
    ("POST", "/v1/users"),
    ("GET", "/v1/conversations"),
    ("GET", "/v1/events"),
    ("GET", "/v1/parked"),
    ("GET", "/v1/routing-rules"),
    ("GET", "/v1/webhooks"),
    ("POST", "/v1/webhooks"),
    ("GET", "/v1/rate-limits"),
    ("POST", "/v1/ws/ticket"),
    ("POST", "/v1/messages/batch"),
}


@pytest.mark.parametrize(("method", "path"), list(operations()))
def test_another_tenant_finds_nothing(mine: Belongings, stranger: Caller, method: str, path: str) -> None:
    walkers = [stranger, stranger.acting("zoe"), stranger.acting(mine.ids["user_id"]), stranger.as_user("zoe")]
    for walker in walkers:
        for body in bodies(path, mine):
            answer = asked(walker, method, path, mine, body, mine.ids)
            _nothing_of(mine, answer)
            assert answer.status_code in (401, 403, 404, 422) or (method, path) in FREE, answer.text
            if path == "/v1/messages/batch" and answer.is_success:
                assert {one["status"] for one in answer.json()["results"]} == {"rejected"}


@pytest.mark.parametrize(("method", "path"), [one for one in operations() if "{" in one[1] and one not in FREE])
def test_what_is_anothers_is_answered_as_what_is_nowhere(
    mine: Belongings, stranger: Caller, method: str, path: str
) -> None:
    """Whether an id exists elsewhere must not be told (BOLA: identical answers)."""
    nowhere = {name: fresh_id() if name == "message_id" else f"{NOWHERE}-{name}" for name in mine.ids}
    nowhere |= {"channel": "whatsapp", "identifier": "+5511900000000", "account_id": "account-nowhere"}
    for body in bodies(path, mine):
        theirs = asked(stranger.acting("zoe"), method, path, mine, body, mine.ids)
        nobodys = asked(stranger.acting("zoe"), method, path, mine, body, nowhere)
        assert theirs.status_code == nobodys.status_code
        assert _shape(theirs, mine.ids) == _shape(nobodys, nowhere)


@pytest.mark.parametrize(("method", "path"), list(operations()))
def test_nobody_gets_in_without_a_token(mine: Belongings, stranger: Caller, method: str, path: str) -> None:
    for authorization in ("", "Bearer", "Bearer x.y.z", "Basic eDp5", f"Bearer {mine.caller.token[:-8]}AAAAAAAA"):
        nobody = replace(stranger, headers={"authorization": authorization})
        answer = asked(nobody, method, path, mine, bodies(path, mine)[0], mine.ids)
        assert answer.status_code == 401, answer.text
        _nothing_of(mine, answer)


@pytest.mark.parametrize(
    "path", [path for _, path in operations() if "conversation_id" in path or "message_id" in path]
)
def test_a_user_of_the_tenant_who_is_no_member_finds_nothing(mine: Belongings, path: str) -> None:
    eve = mine.caller.as_user(f"eve-{MARK}")
    for method in DOCUMENT["paths"][path]:
        for body in bodies(path, mine):
            answer = asked(eve, method.upper(), path, mine, body, mine.ids)
            assert answer.status_code in (403, 404), answer.text
            assert "secret" not in answer.text


def test_the_same_ids_in_two_tenants_are_two_things(mine: Belongings, stranger: Caller) -> None:
    """What B calls as A calls its own is B's: users, conversations, numbers, message_ids, keys."""
    ids = mine.ids
    stranger.must("POST", "/v1/users", {"user_id": ids["user_id"], "display_name": "of b"})
    assert stranger.must("GET", f"/v1/users/{ids['user_id']}")["display_name"] == "of b"
    link = {"channel": "whatsapp", "identifier": ids["identifier"]}
    assert stranger("POST", f"/v1/users/{ids['user_id']}/channels", link).status_code == 201
    stranger.conversation("zoe", ids["user_id"], type="group", conversation_id=ids["conversation_id"])
    payload = {"type": "text", "text": "of b"}
    body = {
        "conversation_id": ids["conversation_id"],
        "from": "zoe",
        "payload": payload,
        "message_id": ids["message_id"],
    }
    answer = stranger("POST", "/v1/messages", body)
    assert answer.json()["seq"] == 1
    assert "idempotent-replayed" not in answer.headers
    assert [one["payload"] for one in stranger.history(ids["conversation_id"])] == [payload]
    assert [one["payload"]["text"] for one in mine.caller.history(ids["conversation_id"])] == [f"secret {MARK}"]
    assert {event["tenant"] for event in stranger.chain(ids["message_id"])} == {stranger.tenant}


def test_an_idempotency_key_shows_nobody_anothers_answer(mine: Belongings, stranger: Caller) -> None:
    key = {"idempotency-key": "the-same-key"}
    body = {"type": "group", "members": [f"ana-{MARK}"]}
    mine.caller.must("POST", "/v1/conversations", body, headers=key)
    _nothing_of(mine, stranger("POST", "/v1/conversations", body, headers=key))


def test_tenant_a_is_as_it_was(mine: Belongings) -> None:
    """After all that: nothing of A was changed by anybody."""
    a, ids = mine.caller, mine.ids
    assert a.must("GET", f"/v1/users/{ids['user_id']}")["display_name"] == MARK
    assert [one["message_id"] for one in a.history(ids["conversation_id"])] == [ids["message_id"]]
    conversation = a.acting(ids["user_id"]).must("GET", f"/v1/conversations/{ids['conversation_id']}")
    assert (sorted(conversation["members"]), conversation["metadata"]) == ([f"ana-{MARK}", f"bruno-{MARK}"], {})
    assert a.must("GET", f"/v1/routing-rules/{ids['rule_id']}")["priority"] != 1
    assert a.must("GET", f"/v1/channels/whatsapp/accounts/{ids['account_id']}")["enabled"]
    webhook = a.must("GET", f"/v1/webhooks/{ids['webhook_id']}")
    assert (webhook["description"], webhook["enabled"]) == (MARK, True)
    assert [one["parked_id"] for one in a.must("GET", "/v1/parked")["items"]] == [ids["parked_id"]]
    assert a.status(ids["message_id"]) == "SENT"


def _nothing_of(mine: Belongings, answer: httpx.Response) -> None:
    """No word of A's in the answer but what the caller said itself."""
    said = answer.request.content.decode() + str(answer.request.url) + str(answer.request.headers)
    told = answer.text + str(answer.headers)
    for name, word in [*mine.ids.items(), ("text", f"secret {MARK}"), ("trace", mine.trace_id)]:
        if name not in ("channel", "account_id") and word not in said:
            assert word not in told, f"{name} of another tenant: {told}"
    assert f"secret {MARK}" not in told


def _shape(answer: httpx.Response, ids: dict[str, str]) -> Any:
    """The answer without the ids that were asked for, and without its trace."""
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body.pop("trace_id", None)
    text = json.dumps(body)
    for name, word in ids.items():
        text = text.replace(word, name)
    return text
