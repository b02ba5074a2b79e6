"""Rate limits through real HTTP, on the hot path too, and a change of them without a restart (E11, E14)."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from shared.http.rate_limit import HEARD_WITHIN
from shared.testing.live import Caller, Process, eventually, text
from shared.testing.platform import UNLIMITED


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


ALLOWED = 10


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One with limits of the installation's own; clients say where they come from, as behind a proxy."""
    limits = {"CHAT4ALL_RATE_LIMIT_PER_MINUTE": f"{ALLOWED}", "CHAT4ALL_TRUSTED_PROXIES": "127.0.0.1"}
    with Process(tmp_path_factory.mktemp("strict") / "data", settings={**UNLIMITED, **limits}) as running:
        yield running.start()


class Visitor:
    """Somebody at an address who tries sockets."""

    def __init__(self, url: str, address: str) -> None:
        self._url, self._from = url, {"x-forwarded-for": address}

    def open(self, path: str = "/ws", **headers: str) -> ClientConnection:
        url = self._url.replace("http", "ws", 1) + path
        return connect(url, additional_headers={**self._from, **headers}, close_timeout=1)

    def told(self, path: str = "/ws", first: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
        """The code of the close and the error before it; or the status and the problem of the handshake's answer."""
        try:
            with self.open(path, **headers) as socket:
                if first:
                    socket.send(first)
                error = json.loads(socket.recv(timeout=10))
                with pytest.raises(ConnectionClosed) as ended:
                    socket.recv(timeout=10)
                assert ended.value.rcvd is not None
                return int(ended.value.rcvd.code), error
        except InvalidStatus as refused:
            answer = refused.response
            body = json.loads(answer.body)
            if answer.status_code == 429:
                assert answer.headers["content-type"] == "application/problem+json"
                assert 1 <= int(answer.headers["retry-after"]) <= 6
                assert answer.headers["ratelimit-policy"] == f'"unauthenticated";q={ALLOWED};w=60'
            return answer.status_code, body

    def streamed(self, **query: str) -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{self._url}/v1/stream", params=query, headers=self._from)
        return answer.status_code, answer.json()


TRIES: dict[str, tuple[Callable[[Visitor], tuple[int, dict[str, Any]]], int, int]] = {
    "token": (lambda who: who.told("/ws?token=no"), 4401, 429),
    "header": (lambda who: who.told(authorization="Bearer no"), 4401, 429),
    "ticket": (lambda who: who.told("/ws?ticket=made.up"), 4401, 429),
    "origin": (lambda who: who.told(origin="https://evil.example"), 403, 429),
    "first token": (lambda who: who.told(first='{"type": "auth", "token": "no"}'), 4401, 429),
    "first frame": (lambda who: who.told(first='{"type": "pong"}'), 4401, 429),
    "junk": (lambda who: who.told(first="junk"), 4400, 429),
    "stream": (lambda who: who.streamed(token="no"), 401, 429),
    "stream's ticket": (lambda who: who.streamed(ticket="made.up"), 401, 429),
}


@pytest.mark.parametrize(("number", "way"), list(enumerate(TRIES, start=1)))
def test_who_proves_nobody_on_sockets_is_stopped_and_keeps_nobody_with_a_token_out(
    strict: Process, number: int, way: str
) -> None:
    attempt, before, after = TRIES[way]
    visitor = Visitor(strict.url, f"203.0.113.{number}")
    codes, errors = zip(*(attempt(visitor) for _ in range(ALLOWED + 3)), strict=True)
    assert codes[:ALLOWED] == (before,) * ALLOWED
    assert codes[-1] == after
    assert errors[-1].get("violated-policies") == ["unauthenticated"] or errors[-1]["code"] == "quota-exceeded"
    assert Visitor(strict.url, "198.51.100.1").told("/ws?token=no")[0] == 4401, "somebody else's address"

    acme = strict.tenant(f"acme-{number}")
    acme.users("ana")
    with visitor.open(authorization=f"Bearer {acme.as_user('ana').token}") as socket:
        assert json.loads(socket.recv(timeout=10))["type"] == "ready"
        for _ in range(2):  # one may be allowed by now
            socket.send('{"type": "auth", "token": "no"}')
            error = json.loads(socket.recv(timeout=10))
        assert error["code"] == "quota-exceeded"


def test_sockets_that_are_opened_and_say_nothing_are_counted_too(strict: Process) -> None:
    visitor = Visitor(strict.url, "203.0.113.99")
    for _ in range(ALLOWED):
        with visitor.open():
            pass
    refused = [visitor.told()[0] for _ in range(2)]  # one may be allowed by now
    assert 429 in refused
    assert visitor.told("/ws?token=no")[0] == 429
    assert Visitor(strict.url, "198.51.100.2").told("/ws?token=no")[0] == 4401, "somebody else's address"


def test_opening_sockets_counts_as_calling_does(acme: Caller) -> None:
    """Who opens one after the other makes history be read each time."""
    ana = acme.as_user("ana")
    limited(acme, messages_per_minute=3)
    time.sleep(HEARD_WITHIN.total_seconds())  # the gateways may be other processes than what is asked next
    refused(acme, "GET", "/v1/presence/ana")
    url = str(acme.http.base_url).replace("http", "ws", 1)
    with pytest.raises(InvalidStatus) as handshake:
        connect(f"{url}/ws?token={ana.token}")
    assert handshake.value.response.status_code == 429
    assert json.loads(handshake.value.response.body)["violated-policies"] == ["messages"]
    with connect(f"{url}/ws") as socket:
        socket.send(json.dumps({"type": "auth", "token": ana.token}))
        assert json.loads(socket.recv(timeout=10))["code"] == "quota-exceeded"
    stream = ana("GET", "/v1/stream")
    assert stream.status_code == 429
    assert stream.headers["ratelimit-policy"] == '"messages";q=3;w=60'
