"""
What operators see: the chain of a message by its trace, parked events, Triggers, health, metrics, logs.

Requirements: C8, D4, E8, E9, E10 and I11 of reliability.md 4.5.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from shared.testing.live import CANARY, Caller, Process, Providers, eventually, fresh_id, text

TRACE = "0af7651916cd43dd8448eb211c80319c"
STRUCTURED = {"content-type": "application/cloudevents+json"}


def asking(conversation: str, event_id: str) -> str:
    data = {"conversation_id": conversation, "from": "ana", "payload": text("by event")}
    event = {"specversion": "1.0", "id": event_id, "source": "/crm", "type": "chat4all.message.send.requested.v1"}
    return json.dumps({**event, "data": data})


def test_one_trace_leads_from_the_request_to_the_last_event(shop: Caller, providers: Providers) -> None:
    shop.users("agent", "wa")
    shop.must("POST", "/v1/users/wa/channels", {"channel": "whatsapp", "identifier": "+5511987660001"})
    talk = shop.conversation("agent", "wa")
    body = {"conversation_id": talk, "from": "agent", "payload": text(), "channels": ["whatsapp"]}
    answer = shop("POST", "/v1/messages", body, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
    assert answer.headers["traceparent"].split("-")[1] == TRACE
    said = answer.json()["message_id"]
    eventually(lambda: shop.status(said) == "READ")

    def types() -> list[str]:
        return [event["type"] for event in shop.chain(said)]

    eventually(lambda: "chat4all.message.read.v1" in types())
    ours = [event for event in shop.chain(said) if TRACE in event["traceparent"]]
    assert [event["type"] for event in ours] == [
        "chat4all.message.accepted.v1",
        "chat4all.delivery.requested.v1",
        "chat4all.status.reported.v1",
        "chat4all.message.sent.v1",
    ]
    assert len({event["id"] for event in ours}) == len(ours)
    by_trace = shop.must("GET", "/v1/events", params={"trace_id": TRACE})["items"]
    assert [one["event"] for one in by_trace] == ours


def test_an_event_that_cannot_be_done_is_parked_and_replayed_or_discarded(acme: Caller) -> None:
    later = f"later-{fresh_id()}"
    mine, other = fresh_id(), fresh_id()
    for event_id, conversation in ((mine, later), (other, "never")):
        answer = acme("POST", "/v1/events", content=asking(conversation, event_id), headers=STRUCTURED)
        assert answer.status_code == 202

    def parked() -> dict[str, dict[str, Any]]:
        return {one["event"]["id"]: one for one in acme.must("GET", "/v1/parked")["items"]}

    eventually(lambda: set(parked()) == {mine, other})
    assert "there is no conversation 'never'" in parked()[other]["reason"]
    entry = parked()[mine]
    assert entry["trigger"].startswith("http://send.")
    assert entry["attempts"] == 1
    assert "422" in entry["reason"]
    assert entry["due_at"] > entry["parked_at"]
    assert entry["event"]["data"]["payload"] == text("by event")

    acme.must("POST", "/v1/conversations", {"type": "group", "members": ["ana"], "conversation_id": later})
    assert acme("POST", f"/v1/parked/{entry['parked_id']}/replay").status_code == 202
    eventually(lambda: [one["message_id"] for one in acme.history(later)] == [mine])
    assert mine not in parked()
    assert acme("POST", f"/v1/parked/{entry['parked_id']}/replay").status_code == 404

    gone = parked()[other]["parked_id"]
    assert acme("DELETE", f"/v1/parked/{gone}").status_code == 204
    assert parked() == {}
    for method, path in (("DELETE", f"/v1/parked/{gone}"), ("POST", f"/v1/parked/{gone}/replay")):
        assert acme(method, path).status_code == 404


def test_parked_events_page(acme: Caller) -> None:
    ids = {fresh_id() for _ in range(5)}
    for event_id in ids:
        acme("POST", "/v1/events", content=asking("nowhere", event_id), headers=STRUCTURED)
    eventually(lambda: len(acme.must("GET", "/v1/parked")["items"]) == 5)
    found: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = acme.must("GET", "/v1/parked", params=query)
        found += [one["event"]["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert sorted(found) == sorted(ids)


def test_operators_need_the_scope(acme: Caller, platform: Process) -> None:
    client_id, secret = acme.credentials
    less = acme.http.post(
        "/auth/token", json={"client_id": client_id, "client_secret": secret, "scope": "messages"}
    ).json()["access_token"]
    for token in (less, acme.as_user("ana").token):
        for path in ("/v1/parked", "/v1/events", "/v1/triggers"):
            assert acme.http.get(path, headers={"authorization": f"Bearer {token}"}).status_code == 403


def test_the_triggers_stand_where_they_are_and_catch_up(acme: Caller) -> None:
    acme.send(acme.conversation("ana", "bruno"), "ana")

    def lags() -> dict[str, int]:
        return {one["name"]: one["lag"] for one in acme.must("GET", "/v1/triggers")["items"]}

    assert set(lags()) >= {"send", "route", "push", "record-status", "record-receipt", "deliver-whatsapp", "redrive"}
    eventually(lambda: set(lags().values()) == {0})
    one = acme.must("GET", "/v1/triggers")["items"][0]
    assert set(one) == {"name", "filter", "function", "delivery", "offset", "lag", "in_flight", "call_limit"}


def test_health_says_what_it_depends_on(platform: Process) -> None:
    http = platform.client()
    assert http.get("/health/live").json() == {"status": "ok"}
    for path in ("/health/ready", "/health"):
        answer = http.get(path)
        assert answer.status_code == 200
        said = answer.json()
        assert (said["status"], said["ready"]) == ("ok", True)
        assert set(said["dependencies"]) & {"broker", "kafka"}, "where events go, in any mode"
        assert set(said["dependencies"]) & {"database", "cassandra"}, "where messages are, in any mode"
        assert {name for name, one in said["dependencies"].items() if one["status"] != "ok"} == set()
        assert all(one["latency_ms"] >= 0 for one in said["dependencies"].values())


METRICS = {
    "chat4all_messages_accepted_total",
    "chat4all_messages_routed_total",
    "chat4all_messages_failed_total",
    "chat4all_deliveries_total",
    "chat4all_statuses_total",
    "chat4all_events_retried_total",
    "chat4all_events_dead_lettered_total",
    "chat4all_events_parked_total",
    "chat4all_events_handled_total",
    "chat4all_accept_seconds_bucket",
    "chat4all_event_handle_seconds_bucket",
    "chat4all_event_age_seconds_bucket",
    "chat4all_trigger_lag_events",
}


@contextmanager
def listening(platform: Process, shop: Caller) -> Iterator[None]:
    """Somebody of the tenant holds a socket: without one nobody is woken to push (ADR 42)."""
    user = f"listener-{fresh_id()[:8]}"
    shop.users(user)
    headers = {"authorization": f"Bearer {shop.as_user(user).token}"}
    with connect(f"{platform.url.replace('http', 'ws', 1)}/ws", additional_headers=headers) as socket:
        assert "ready" in socket.recv(timeout=10)
        yield


def test_nobody_is_woken_to_push_to_nobody(new_tenant: Callable[[], Caller], platform: Process) -> None:
    """What is said after a socket of the tenant has opened wakes push, whoever had looked before (A13, ADR 42)."""
    quiet = new_tenant()
    quiet.users("a", "b")
    talk = quiet.conversation("a", "b")
    unheard = quiet.send(talk, "a")["message_id"]
    with listening(platform, quiet):
        heard = quiet.send(talk, "a")["message_id"]

    def pushed(message_id: str) -> str:
        event = eventually(lambda: quiet.chain(message_id))[0]
        wanted: str = event["push"]
        return wanted

    assert (pushed(unheard), pushed(heard)) == ("none", "wanted")


def test_metrics_move(shop: Caller, providers: Providers, platform: Process) -> None:
    http = platform.client()

    def values() -> dict[str, float]:
        answer = http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        rows = [row.rpartition(" ") for row in answer.text.splitlines() if not row.startswith("#")]
        return {name: float(value) for name, _, value in rows}

    def value(name: str, **labels: str) -> float:
        wanted = {f'{key}="{label}"' for key, label in labels.items()}
        return sum(number for row, number in values().items() if row.startswith(name) and wanted <= set(
            row.partition("{")[2].rstrip("}").split(",")))  # fmt: skip

    shop.users("agent", "wb", "wc")
    shop.must("POST", "/v1/users/wb/channels", {"channel": "whatsapp", "identifier": "+5511987670001"})
    shop.must("POST", "/v1/users/wc/channels", {"channel": "whatsapp", "identifier": "+5511987670004"})
    mine = {"tenant": shop.tenant}

    def handed_on() -> float:
        """To whoever listens; or to nobody, and their cursors: over NATS the server decides that, and we count none."""
        return value("chat4all_messages_pushed_total", **mine) + value("chat4all_messages_left_total", **mine)

    handed_on_before = handed_on()
    before = {name: value(name) for name in METRICS} | {name + "mine": value(name, **mine) for name in METRICS}

    def more(name: str, **labels: str) -> float:
        return value(name, **mine, **labels) - before[name + "mine"]

    with listening(platform, shop):
        taken = shop.send(shop.conversation("agent", "wb"), "agent", channels=["whatsapp"])["message_id"]
        refused = shop.send(shop.conversation("agent", "wc"), "agent", channels=["whatsapp"])["message_id"]
    shop("POST", "/v1/events", content=asking("nowhere", fresh_id()), headers=STRUCTURED)
    eventually(lambda: shop.status(taken) == "READ" and shop.status(refused) == "FAILED")
    eventually(lambda: more("chat4all_events_parked_total") == 1)
    assert more("chat4all_messages_accepted_total") == 2
    assert more("chat4all_messages_routed_total") == 2
    eventually(lambda: handed_on() - handed_on_before == 2)
    eventually(lambda: more("chat4all_messages_failed_total") == 1)
    assert value("chat4all_deliveries_total", channel="whatsapp", outcome="sent") >= 1
    assert value("chat4all_deliveries_total", channel="whatsapp", outcome="rejected") >= 1
    assert value("chat4all_statuses_total", channel="whatsapp", status="READ") >= 1
    moved = {name for name in METRICS if value(name) > before[name]}
    assert moved >= METRICS - {"chat4all_events_retried_total", "chat4all_trigger_lag_events"}
    exposed = {row.partition("{")[0] for row in values()}
    assert exposed >= METRICS
    assert CANARY not in http.get("/metrics").text


def test_the_documentation_is_served(platform: Process) -> None:
    http = platform.client()
    assert "swagger" in http.get("/docs").text.lower()
    assert http.get("/openapi.json").json()["info"]["title"] == "Chat4All"


E9 = {"timestamp", "level", "service", "message"}
OF_AN_EVENT = {"function", "tenant", "event_id", "event_type", "trace_id", "span_id", "outcome", "ms"}


def test_every_line_of_the_log_is_an_object_with_its_context_and_no_secret(
    shop: Caller, providers: Providers, platform: Process
) -> None:
    """I11: neither texts nor names, addresses, tokens or secrets, whatever happens."""
    shop.users("agent", "wl")
    address = "+5511987680003"
    shop.must("POST", "/v1/users/wl/channels", {"channel": "whatsapp", "identifier": address})
    talk = shop.conversation("agent", "wl")
    said = shop.send(talk, "agent", channels=["whatsapp"])["message_id"]
    providers.writes("whatsapp", "+5511987681111", "in")
    shop("POST", "/v1/messages", {"conversation_id": talk, "from": CANARY, "payload": text(), CANARY: CANARY})
    shop("GET", f"/v1/users/{CANARY}")
    shop("POST", "/v1/events", content=asking("nowhere", fresh_id()), headers=STRUCTURED)
    shop.http.post("/auth/token", json={"client_id": CANARY, "client_secret": CANARY})
    shop.http.get("/v1/users", headers={"authorization": f"Bearer {CANARY}"})
    shop.http.post(f"/v1/inbound/{shop.tenant}/whatsapp", json={"text": CANARY})
    eventually(lambda: shop.status(said) == "FAILED")
    done = fresh_id()
    with listening(platform, shop):
        shop.send(talk, "agent", message_id=done)

    def lines() -> list[str]:
        return platform.log.read_text(encoding="utf-8").splitlines()

    eventually(lambda: any(done in line and "push" in line for line in lines()))
    secrets = [
        CANARY,
        address.removeprefix("+"),
        "5511987681111",
        shop.token,
        shop.credentials[1],
        *(secret for account in providers.accounts.values() for secret in account["secrets"].values()),
    ]
    for line in lines():
        fields = json.loads(line)
        assert set(fields) >= E9
        if fields["message"] == "event handled":
            assert set(fields) >= OF_AN_EVENT
        if fields["message"] == "message accepted":
            assert set(fields) >= {"tenant", "message_id", "conversation_id", "trace_id", "span_id", "outcome"}
        leaked = [secret for secret in secrets if secret in line]
        assert not leaked, line


@pytest.mark.parametrize("path", ["/simulators/", "/simulators/whatsapp/", "/simulators/instagram/_sim/account"])
def test_the_simulators_are_there(platform: Process, path: str) -> None:
    assert platform.client().get(path).status_code == 200
