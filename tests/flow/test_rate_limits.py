"""Rate limits through real HTTP, on the hot path too, and a change of them without a restart (E11, E14)."""

from typing import Any

import pytest

from shared.testing.live import Caller, eventually, text


@pytest.fixture
def conversation(acme: Caller) -> str:
    return acme.conversation("ana", "bruno")


def limited(caller: Caller, **limits: int) -> None:
    caller.must("PUT", "/v1/rate-limits", limits)


def refused(caller: Caller, method: str, path: str, body: Any = None) -> Any:
    """The first answer that is 429; a change of the limits holds within seconds."""

    def look() -> Any:
        answer = caller(method, path, body)
        return answer if answer.status_code == 429 else None

    return eventually(look)


def test_messages_have_a_limit_of_their_own_and_what_was_refused_was_not_sent(acme: Caller, conversation: str) -> None:
    limited(acme, messages_per_minute=3)
    body = {"conversation_id": conversation, "from": "ana", "payload": text()}
    answer = refused(acme, "POST", "/v1/messages", body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["ratelimit-policy"] == '"messages";q=3;w=60'
    assert answer.headers["ratelimit"].startswith('"messages";r=0;t=')
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    assert answer.json()["violated-policies"] == ["messages"]
    assert acme("GET", f"/v1/conversations/{conversation}/messages").status_code == 429
    acme.must("PUT", "/v1/rate-limits", {})
    eventually(lambda: acme("GET", f"/v1/conversations/{conversation}/messages").status_code == 200)
    sent = acme.send(conversation, "ana")
    seqs: list[int] = []
    while page := acme.history(conversation, since=len(seqs), limit=200):
        seqs += [one["seq"] for one in page]
    assert seqs == list(range(1, sent["seq"] + 1))


def test_other_calls_and_other_tenants_go_on(acme: Caller, conversation: str, shop: Caller) -> None:
    limited(acme, requests_per_minute=2)
    answer = refused(acme, "GET", "/v1/users")
    assert answer.json()["violated-policies"] == ["default"]
    assert acme.send(conversation, "ana")["seq"] == 1
    assert shop("GET", "/v1/users").status_code == 200
