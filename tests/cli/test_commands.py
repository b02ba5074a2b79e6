"""
The command line as people and scripts use it: exit codes, --json, messages (issue 3, item 8; E8).

The platform is a fake HTTP application behind httpx's transport; the demo runs against the real one in
tests/flow.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from events import DeliveryRequested, Event, MessageAccepted, StatusReported
from events.vocabulary import Status, Text
from shared.cli import reference
from shared.cli.credentials import Client, NoCredentials, find_client
from shared.cli.main import app
from shared.cli.output import Output
from shared.cli.platform import Platform, PlatformRefused
from shared.runtime import wiring

MESSAGE = "7c8d76f1-0000-4000-8000-000000000001"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

Handler = Callable[[httpx.Request], httpx.Response]


def _item(seq: int) -> dict[str, Any]:
    return {
        "seq": seq,
        "message_id": MESSAGE,
        "from": "ana",
        "channels": ["chat4all"],
        "payload": {"type": "text", "text": "Olá [bold]!"},
        "created_at": "2026-11-21T03:14:08.056Z",
        "status": "READ",
    }


def _chain() -> list[dict[str, Any]]:
    """The entries of one message that went to WhatsApp; the report comes in with a request of its own."""
    from datetime import UTC, datetime, timedelta

    at = datetime(2026, 11, 21, 3, 14, 8, tzinfo=UTC)
    accepted = Event(
        id=MESSAGE,
        source="/functions/send",
        tenant="demo",
        time=at,
        traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
        data=MessageAccepted(
            message_id=MESSAGE,
            conversation_id="c1",
            seq=1,
            sender="ana",
            payload=Text(text="Olá"),
            created_at=at,
        ),
    )
    requested = accepted.caused(
        DeliveryRequested(
            conversation_id="c1", channel="whatsapp", address="+5511987650001", message_id=MESSAGE, seq=1
        ),
        source="/functions/route",
        at=at + timedelta(milliseconds=5),
    )
    reported = requested.caused(
        StatusReported(
            channel="whatsapp",
            status=Status.SENT,
            at=at,
            source="/functions/deliver",
            conversation_id="c1",
            message_id=MESSAGE,
            recipient="bruno",
            delivery_id="d1",
        ),
        source="/functions/deliver",
        at=at + timedelta(milliseconds=47),
    )
    events: list[Event[Any]] = [accepted, requested, reported]
    return [
        {"offset": offset, "event": json.loads(event.to_cloudevent().to_structured())}
        for offset, event in enumerate(events, start=1)
    ]


WEBHOOK = {
    "webhook_id": "w1",
    "url": "https://example.org/hook",
    "events": ["*"],
    "description": None,
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "public_key": None,
    "created_at": "2026-11-21T03:14:08.056Z",
    "updated_at": "2026-11-21T03:14:08.056Z",
}
DELIVERY = {
    "delivery_id": "d1",
    "notification_id": "n1",
    "type": "message.read",
    "status": "failed",
    "tries": 10,
    "status_code": 500,
    "reason": "answered 500",
    "created_at": "2026-11-21T03:14:08.056Z",
    "next_try_at": None,
    "finished_at": "2026-11-24T03:14:08.056Z",
}

ANSWERS: dict[str, Any] = {
    "POST /auth/token": {"access_token": "t0k3n", "token_type": "bearer", "expires_in": 3600, "scope": "all"},
    "POST /v1/users/ana/tokens": {"access_token": "anas", "token_type": "bearer", "expires_in": 60},
    "POST /v1/users": {"user_id": "ana", "display_name": "Ana"},
    "GET /v1/users": {"items": [{"user_id": "ana", "display_name": "Ana"}], "next_cursor": None},
    "GET /v1/users/ana": {"user_id": "ana", "display_name": "Ana"},
    "PATCH /v1/users/ana": {"user_id": "ana", "display_name": "Ana Lima"},
    "GET /v1/users/ana/channels": {
        "items": [{"channel": "whatsapp", "identifier": "+5511987650001", "is_active": True}],
        "next_cursor": None,
    },
    "POST /v1/users/ana/channels": {"channel": "whatsapp", "identifier": "+5511987650001", "is_active": True},
    "POST /v1/conversations": {"conversation_id": "c1", "type": "private", "members": ["ana", "bruno"]},
    "GET /v1/conversations": {
        "items": [
            {
                "conversation_id": "c1",
                "type": "private",
                "members": ["ana", "bruno"],
                "unread_count": 1,
                "last_message": {"seq": 1, "from": "ana", "preview": "Olá", "sent_at": "2026-11-21T03:14:08Z"},
            }
        ],
        "next_cursor": None,
    },
    "GET /v1/conversations/c1": {"conversation_id": "c1", "type": "private", "members": ["ana", "bruno"]},
    "GET /v1/conversations/c1/messages": {"items": [_item(1)], "next_cursor": None},
    "POST /v1/messages": {"status": "accepted", "message_id": MESSAGE, "conversation_id": "c1", "seq": 1},
    f"GET /v1/messages/{MESSAGE}": {
        **_item(1),
        "deliveries": [{"recipient": "bruno", "channel": "chat4all", "status": "READ"}],
    },
    f"GET /v1/messages/{MESSAGE}/status": {"status": "DELIVERED"},
    f"GET /v1/messages/{MESSAGE}/status/history": {
        "items": [
            {
                "status": "SENT",
                "timestamp": "2026-11-21T03:14:08.056Z",
                "source": "/functions/send",
                "recipient": "bruno",
                "channel": "chat4all",
            }
        ]
    },
    "GET /v1/parked": {
        "items": [
            {
                "parked_id": "p1",
                "trigger": "route",
                "reason": "503",
                "attempts": 4,
                "parked_at": "2026-11-21T03:14:08Z",
                "due_at": None,
                "event": {"type": "chat4all.message.accepted.v1"},
            }
        ],
        "next_cursor": None,
    },
    "POST /v1/parked/p1/replay": None,
    "DELETE /v1/parked/p1": None,
    "GET /v1/triggers": {
        "items": [
            {
                "name": "route",
                "filter": {"type": "chat4all.message.accepted.v1"},
                "function": "route",
                "delivery": {
                    "retry": 3,
                    "backoff_policy": "exponential",
                    "backoff_delay_seconds": 0.2,
                    "timeout_seconds": None,
                    "dead_letter_sink": "dead-letter",
                },
                "offset": 10,
                "lag": 0,
                "in_flight": 0,
                "call_limit": 100,
            }
        ]
    },
    "GET /v1/channels": {
        "items": [
            {
                "name": "whatsapp",
                "configured": True,
                "breaker": "closed",
                "capabilities": {
                    "text": True,
                    "files": True,
                    "delivered_receipts": True,
                    "read_receipts": True,
                    "max_text_length": 4096,
                    "text_length_in": "characters",
                    "max_file_size": {"image": 5242880},
                },
            }
        ],
        "next_cursor": None,
    },
    "GET /v1/channels/whatsapp/accounts": {
        "items": [{"account_id": "1", "enabled": True, "settings": {"phone_number_id": "1"}}],
        "next_cursor": None,
    },
    "POST /v1/channels/whatsapp/accounts/1/check": {"ok": True, "detail": "Loja +55 11 98765-0001"},
    "POST /v1/webhooks": {**WEBHOOK, "secret": "whsec_abc"},
    "GET /v1/webhooks": {"items": [WEBHOOK], "next_cursor": None},
    "GET /v1/webhooks/w1": WEBHOOK,
    "PATCH /v1/webhooks/w1": WEBHOOK,
    "DELETE /v1/webhooks/w1": None,
    "POST /v1/webhooks/w1/rotate-secret": {**WEBHOOK, "secret": "whsec_def"},
    "POST /v1/webhooks/w1/test": {
        "ok": True,
        "status_code": 204,
        "problem": None,
        "milliseconds": 3,
        "response": "",
        "response_truncated": False,
    },
    "GET /v1/webhooks/w1/deliveries": {"items": [DELIVERY], "next_cursor": None},
    "GET /v1/webhooks/w1/deliveries/d1": {
        **DELIVERY,
        "body": "{}",
        "history": [
            {
                "number": 1,
                "at": "2026-11-21T03:14:08.056Z",
                "milliseconds": 3,
                "status_code": 500,
                "problem": None,
                "response": "oops",
                "response_truncated": False,
            }
        ],
    },
    "POST /v1/webhooks/w1/deliveries/d1/replay": {"status": "accepted"},
    "POST /v1/webhooks/w1/replay": {"replayed": 3, "next_cursor": None},
    "GET /openapi.json": {"openapi": "3.1.0", "paths": {}},
}


def healthy(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/v1/events":
        chain = _chain()
        wanted = request.url.params
        if wanted.get("trace_id", TRACE) != TRACE or wanted.get("message_id", MESSAGE) != MESSAGE:
            chain = []
        after = int(wanted.get("after", 0))
        items = [entry for entry in chain if entry["offset"] > after]
        cursor = None if {"trace_id", "message_id"} & wanted.keys() else str(max(after, len(_chain())))
        return httpx.Response(200, json={"items": items, "next_cursor": cursor})
    key = f"{request.method} {request.url.path}"
    if key not in ANSWERS:
        return httpx.Response(404, json={"title": "There is no such thing here", "status": 404, "detail": key})
    answer = ANSWERS[key]
    return httpx.Response(204) if answer is None else httpx.Response(200, json=answer)


def invoke(*arguments: str, handler: Handler = healthy, data_dir: Path | None = None) -> Result:
    client = ["--client-id", "c", "--client-secret", "s3cr3t"] if data_dir is None else ["--data-dir", str(data_dir)]
    transport = httpx.MockTransport(handler)
    return CliRunner().invoke(app, [*arguments, *client], obj=transport)


EVERY_QUESTION = [
    ("token",),
    ("token", "--user", "ana"),
    ("users", "create", "ana", "--name", "Ana"),
    ("users", "update", "ana", "--name", "Ana Lima"),
    ("users", "list"),
    ("users", "show", "ana"),
    ("users", "link", "ana", "whatsapp", "+5511987650001"),
    ("conversations", "create", "ana", "bruno"),
    ("conversations", "list", "--as", "ana"),
    ("conversations", "show", "c1", "--as", "ana"),
    ("conversations", "members", "c1", "--as", "ana"),
    ("send", "c1", "Olá", "--from", "ana"),
    ("send", "c1", "Olá", "--from", "ana", "--wait-for", "delivered"),
    ("messages", "list", "c1", "--as", "ana"),
    ("messages", "show", MESSAGE, "--as", "ana"),
    ("events", "list"),
    ("events", "show", MESSAGE),
    ("events", "show", TRACE),
    ("tail", "--count", "1"),
    ("parked", "list"),
    ("parked", "replay", "p1"),
    ("parked", "replay", "--all"),
    ("parked", "discard", "p1"),
    ("triggers",),
    ("channels", "list"),
    ("channels", "accounts", "whatsapp"),
    ("channels", "check", "whatsapp", "1"),
    ("webhooks", "create", "https://example.org/hook", "--event", "message.*", "--description", "ours"),
    ("webhooks", "list"),
    ("webhooks", "show", "w1"),
    ("webhooks", "update", "w1", "--enable"),
    ("webhooks", "delete", "w1"),
    ("webhooks", "rotate", "w1", "--keep-hours", "0"),
    ("webhooks", "test", "w1"),
    ("webhooks", "deliveries", "w1", "--status", "failed"),
    ("webhooks", "delivery", "w1", "d1"),
    ("webhooks", "replay", "w1", "d1"),
    ("webhooks", "replay", "w1", "--since", "2026-11-21T00:00:00Z", "--all"),
    ("openapi", "export"),
]


@pytest.mark.parametrize("arguments", EVERY_QUESTION, ids=" ".join)
def test_json_is_the_only_thing_on_stdout(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", EVERY_QUESTION, ids=" ".join)
def test_people_get_an_answer_without_a_secret_in_it(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
    assert "s3cr3t" not in result.output


@pytest.mark.parametrize(("user", "code"), [("ana", 0), ("nobody", 1)])
def test_an_empty_inbox_is_that_of_a_user(user: str, code: int) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.headers.get("x-act-as") == "nobody":
            return httpx.Response(404, json={"title": "There is no such thing", "detail": "there is no user 'nobody'"})
        if request.url.path == "/v1/conversations":
            return httpx.Response(200, json={"items": [], "next_cursor": None})
        return healthy(request)

    result = invoke("conversations", "list", "--as", user, handler=handler)
    assert (result.exit_code, "there is no user 'nobody'" in result.stderr) == (code, code == 1)
    assert result.stdout == ("" if code else "none\n")


def test_a_file_is_shown_with_the_id_that_downloads_it() -> None:
    item = {**_item(1), "payload": {"type": "file", "file_id": "f1", "filename": "cat.jpg", "size": 3}}

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/conversations/c1/messages":
            return httpx.Response(200, json={"items": [item], "next_cursor": None})
        return healthy(request)

    assert "[file] cat.jpg (f1)" in invoke("messages", "list", "c1", handler=handler).stdout


def test_a_step_whose_time_was_told_is_shown_with_that_time_instead_of_a_duration() -> None:
    """The report of the chain is followed by its news, which is dated before it."""
    *_, reported = chain = _chain()
    news = json.loads(json.dumps(reported))
    news["offset"] = reported["offset"] + 1
    news["event"] |= {"id": "news", "type": "chat4all.message.sent.v1", "time": "2026-11-21T03:14:08Z"}

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/v1/events":
            return healthy(request)
        return httpx.Response(200, json={"items": [*chain, news], "next_cursor": None})

    lines = invoke("events", "show", MESSAGE, handler=handler).stdout.splitlines()
    assert "+42 ms" in next(line for line in lines if "status.reported" in line)
    shown = next(line for line in lines if "message.sent" in line)
    assert "dated 2026-11-21T03:14:08Z" in shown
    assert " ms" not in shown


def test_what_a_user_wrote_is_no_markup() -> None:
    assert "Olá [bold]!" in invoke("messages", "list", "c1", "--as", "ana").stdout


def _refusing(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/auth/token":
        return healthy(request)
    problem = {
        "type": "https://chat4all.dev/problems/invalid",
        "title": "Something in the request is not right",
        "status": 422,
        "detail": "/user_id: too long",
        "trace_id": TRACE,
        "errors": [{"pointer": "/user_id", "detail": "too long"}],
    }
    return httpx.Response(422, json=problem, headers={"content-type": "application/problem+json"})


def test_a_refusal_is_exit_code_1_and_says_title_detail_and_each_error() -> None:
    result = invoke("users", "create", "ana", handler=_refusing)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Something in the request is not right" in result.stderr
    assert "/user_id: too long" in result.stderr
    assert TRACE in result.stderr


def test_what_is_wrong_with_a_request_is_said_once() -> None:
    said = invoke("users", "create", "ana", handler=_refusing).stderr
    assert said.splitlines() == ["Something in the request is not right", "  /user_id: too long", f"  trace_id {TRACE}"]


def test_a_detail_that_says_more_than_the_errors_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Output().error("no", "the rule is older", [{"pointer": "", "detail": "query parameter limit: at most 200"}])
    assert capsys.readouterr().err == "no: the rule is older\n  query parameter limit: at most 200\n"


def test_a_refusal_with_json_is_one_object_on_stderr() -> None:
    result = invoke("users", "create", "ana", "--json", handler=_refusing)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert json.loads(result.stderr)["errors"] == [{"pointer": "/user_id", "detail": "too long"}]


def test_an_answer_that_is_no_problem_document_is_shown_all_the_same() -> None:
    result = invoke("users", "list", handler=lambda request: httpx.Response(502, text="<html>bad gateway"))
    assert result.exit_code == 1
    assert "502" in result.stderr
    assert "bad gateway" in result.stderr


def test_no_answer_is_exit_code_3_and_says_how_to_start_the_platform() -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    result = invoke("users", "list", handler=nobody)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "scripts/up" in result.stderr


def test_without_credentials_it_says_where_they_should_be(tmp_path: Path) -> None:
    result = invoke("users", "list", data_dir=tmp_path)
    assert result.exit_code == 3
    assert "credentials.json" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "create"),
        ("nonsense",),
        ("parked", "replay"),
        ("parked", "replay", "p1", "--all"),
        ("token", "--ttl", "5"),
        ("send", "c1", "Olá"),
        ("send", "c1", "Olá", "--from", "ana", "--wait-for", "eaten"),
        ("conversations", "create", "ana"),
        ("webhooks", "update", "w1"),
        ("webhooks", "replay", "w1"),
        ("webhooks", "replay", "w1", "d1", "--since", "2026-11-21T00:00:00Z"),
        ("webhooks", "replay", "w1", "d1", "--all"),
        ("messages", "list", "c1", "--latest", "5", "--since", "1"),
        ("users", "list", "--url", "nonsense"),
        ("users", "list", "--url", "localhost:8080"),
        ("users", "list", "--url", "http://"),
        ("users", "list", "--url", "http://x:http"),
        ("users", "list", "--url", "ftp://x"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_who_stops_waiting_is_told_that_the_message_is_accepted(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    """Or they send it again."""

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shared.cli.commands.messages.time.sleep", interrupted)
    json_or_not = ("--json",) if as_json else ()
    result = invoke("send", "c1", "Olá", "--from", "ana", "--wait-for", "read", *json_or_not)
    assert result.exit_code == 130
    if not as_json:
        assert f"as {MESSAGE}, number" in result.stdout
    assert f"{MESSAGE} is accepted" in result.stderr


def test_waiting_for_a_message_that_fails_is_exit_code_1() -> None:
    def failing(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/status"):
            return httpx.Response(200, json={"status": "FAILED"})
        return healthy(request)

    result = invoke("send", "c1", "Olá", "--from", "ana", "--wait-for", "read", handler=failing)
    assert result.exit_code == 1
    assert "FAILED" in result.stderr


def test_an_address_that_can_be_none_is_told_what_one_is() -> None:
    assert "http(s)://host[:port]" in invoke("users", "list", "--url", "nonsense").stderr
    assert invoke("users", "list", "--url", "https://chat.example").exit_code == 0


def test_a_group_of_one_is_made_when_it_is_asked_for() -> None:
    assert invoke("conversations", "create", "ana", "--group").exit_code == 0


def test_who_waited_in_vain_knows_for_which_message() -> None:
    result = invoke("send", "c1", "Olá", "--from", "ana", "--wait-for", "read", "--timeout", "0", "--json")
    assert result.exit_code == 1
    assert {"message_id": MESSAGE, "status": "DELIVERED"}.items() <= json.loads(result.stderr).items()


def _history(request: httpx.Request) -> httpx.Response:
    """Of 500 messages, as functions/messages/http.py gives it."""
    if not request.url.path.endswith("/messages"):
        return healthy(request)
    asked = request.url.params
    way, _, number = asked.get("cursor", "").partition(" ")
    limit, backwards = int(asked["limit"]), way == "before" or (not way and "before" in asked)
    at = int(number or asked.get("before" if backwards else "since", 0))
    seqs = range(max(min(at, 501) - limit, 1), min(at, 501)) if backwards else range(at + 1, min(at + limit, 500) + 1)
    more = f"before {seqs[0]}" if backwards else f"since {seqs[-1]}"
    return httpx.Response(
        200, json={"items": [_item(seq) for seq in seqs], "next_cursor": more if len(seqs) == limit else None}
    )


def _seqs(result: Result) -> list[int]:
    return [item["seq"] for item in json.loads(result.stdout)["items"]]


def test_who_sees_the_oldest_messages_is_told_how_to_see_the_others() -> None:
    result = invoke("messages", "list", "c1", "--limit", "3", handler=_history)
    assert "--since 3" in result.stderr
    assert "--latest 3" in result.stderr
    assert invoke("messages", "list", "c1", "--since", "499", handler=_history).stderr == ""
    as_json = invoke("messages", "list", "c1", "--limit", "3", "--json", handler=_history)
    assert (_seqs(as_json), as_json.stderr) == ([1, 2, 3], "")
    assert json.loads(as_json.stdout)["next_cursor"] == "since 3"


@pytest.mark.parametrize("count", [3, 300, 1000])
def test_the_latest_messages_are_the_newest_in_their_order(count: int) -> None:
    result = invoke("messages", "list", "c1", "--latest", str(count), "--json", handler=_history)
    assert _seqs(result) == list(range(max(501 - count, 1), 501))
    assert invoke("messages", "list", "c1", "--latest", "3", handler=_history).stderr == ""


def test_waiting_ends_at_its_deadline() -> None:
    result = invoke("send", "c1", "Olá", "--from", "ana", "--wait-for", "read", "--timeout", "0")
    assert result.exit_code == 1
    assert "DELIVERED" in result.stderr


def test_a_replayed_message_is_said_to_be_one() -> None:
    def known(request: httpx.Request) -> httpx.Response:
        answer = healthy(request)
        answer.headers["Idempotent-Replayed"] = "true"
        return answer

    result = invoke("send", "c1", "Olá", "--from", "ana", "--message-id", MESSAGE, "--json", handler=known)
    assert json.loads(result.stdout)["idempotent_replayed"] is True


def test_tail_gives_one_object_a_line() -> None:
    lines = invoke("tail", "--since", "0", "--count", "3", "--json").stdout.splitlines()
    assert [json.loads(line)["offset"] for line in lines] == [1, 2, 3]


def test_tail_shows_only_the_types_that_are_wanted() -> None:
    lines = invoke("tail", "--since", "0", "--type", "status", "--count", "1", "--json").stdout.splitlines()
    assert [json.loads(line)["offset"] for line in lines] == [3]


@pytest.mark.parametrize("command", [("tail",), ("events", "list")])
def test_a_type_of_which_no_event_ever_comes_is_refused_with_the_nearest(command: tuple[str, ...]) -> None:
    result = invoke(*command, "--type", "mesage.deliverd")
    assert result.exit_code == 2
    assert "message.delivered" in result.stderr


def _repeating(request: httpx.Request) -> httpx.Response:
    """The log has the last event twice, as two who report one fact leave it."""
    if request.url.path != "/v1/events":
        return healthy(request)
    items = [*_chain(), {**_chain()[-1], "offset": 4}]
    return httpx.Response(200, json={"items": items, "next_cursor": "4"})


@pytest.mark.parametrize(
    "command", [("tail", "--since", "0", "--count", "4"), ("events", "list"), ("events", "show", MESSAGE)]
)
def test_an_event_that_was_logged_before_is_said_to_be_a_repeat(command: tuple[str, ...]) -> None:
    lines = [line for line in invoke(*command, handler=_repeating).stdout.splitlines() if "status.reported" in line]
    assert ["repeat of 3" in line for line in lines] == [False, True]


def test_a_repeat_is_marked_for_programs_too() -> None:
    lines = invoke("tail", "--since", "0", "--count", "4", "--json", handler=_repeating).stdout.splitlines()
    assert [json.loads(line).get("repeat_of") for line in lines] == [None, None, None, 3]


def _away(*answers: httpx.Response | None) -> tuple[Handler, list[httpx.QueryParams]]:
    """The log of a platform that gives ``answers`` after its first page, None being no answer, then the next page."""
    asked: list[httpx.QueryParams] = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/v1/events":
            return healthy(request)
        asked.append(request.url.params)
        chain = _chain()
        if len(asked) == 1:
            return httpx.Response(200, json={"items": chain[:1], "next_cursor": "2"})  # an event of another tenant's
        if len(asked) - 2 < len(answers):
            if (answer := answers[len(asked) - 2]) is None:
                raise httpx.ConnectError("connection refused")
            return answer
        return httpx.Response(200, json={"items": chain[2:], "next_cursor": "3"})

    return handler, asked


def test_a_log_goes_on_by_its_cursor_when_the_platform_is_back_and_tells_once() -> None:
    handler, asked = _away(None, None, httpx.Response(503, json={"title": "starting"}))
    told: list[str] = []
    slept: list[float] = []
    platform = Platform(Client("http://x", "demo", "c", "s"), httpx.MockTransport(handler), sleep=slept.append)
    log = platform.log(after=0, wait=10, lost=lambda error: told.append(str(error)))
    assert [next(log)["offset"], next(log)["offset"]] == [1, 3]
    assert [params["after"] for params in asked] == ["0", "2", "2", "2", "2"]
    assert (len(slept), told) == (3, ["no answer from http://x: connection refused"])
    platform.close()


def test_tail_says_that_the_platform_is_away_and_goes_on() -> None:
    result = invoke("tail", "--since", "0", "--count", "2", "--json", handler=_away(None)[0])
    assert result.exit_code == 0
    assert [json.loads(line)["offset"] for line in result.stdout.splitlines()] == [1, 3]
    (line,) = result.stderr.splitlines()
    assert "connection refused" in line


@pytest.mark.parametrize(("answer", "code"), [(httpx.Response(403, json={"title": "no"}), 1), (None, 3)])
def test_tail_ends_when_it_is_refused_or_nobody_ever_answered(answer: httpx.Response | None, code: int) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if answer is None:
            raise httpx.ConnectError("connection refused")
        return answer if request.url.path == "/v1/events" else healthy(request)

    assert invoke("tail", handler=handler).exit_code == code
    if answer is not None:
        assert invoke("tail", handler=_away(answer)[0]).exit_code == code


@pytest.mark.parametrize("any_id", [MESSAGE, TRACE, _chain()[2]["event"]["id"]])
def test_the_chain_of_an_event_is_a_tree_of_causes_with_the_time_of_each_step(any_id: str) -> None:
    (root,) = json.loads(invoke("events", "show", any_id, "--json").stdout)["items"]
    (requested,) = root["effects"]
    (reported,) = requested["effects"]
    assert [root["offset"], requested["offset"], reported["offset"]] == [1, 2, 3]
    assert [requested["after_ms"], reported["after_ms"]] == [5.0, 42.0]


def test_an_unknown_event_is_exit_code_1() -> None:
    result = invoke("events", "show", "7c8d76f1-0000-4000-8000-00000000ffff")
    assert result.exit_code == 1
    assert result.stdout == ""


def test_replaying_all_goes_on_when_one_is_gone_meanwhile() -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/replay"):
            return httpx.Response(404, json={"title": "There is no such thing here", "status": 404})
        return healthy(request)

    result = invoke("parked", "replay", "--all", "--json", handler=gone)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"replayed": []})


def test_names_of_triggers_are_whole_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # as in a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    (like,) = ANSWERS["GET /v1/triggers"]["items"]
    delivery = {**like["delivery"], "timeout_seconds": 600.0}
    items = [
        {
            **{"name": one.name, "filter": dict(one.filter), "function": one.subscriber},
            **{"delivery": delivery, "offset": 12_345_678, "lag": 54_321, "in_flight": 100, "call_limit": 100},
        }
        for one in wiring.read().triggers
    ]

    def wired(request: httpx.Request) -> httpx.Response:
        there = request.url.path == "/v1/triggers"
        return httpx.Response(200, json={"items": items}) if there else healthy(request)

    words = invoke("triggers", handler=wired).stdout.split()
    for item in items:
        kind = item["filter"].get("type", "").removeprefix("chat4all.").removesuffix(".v1")
        others = [f"{name}={value}" for name, value in item["filter"].items() if name != "type"]
        assert {item["name"], item["function"], *filter(None, [kind, *others])} <= set(words)
    assert words.count("12345678") == len(items)


def test_in_a_pipe_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = "word " * 60 + "\nand a second line"

    def long(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/messages"):
            return healthy(request)
        item = {**_item(1), "payload": {"type": "text", "text": text}}
        return httpx.Response(200, json={"items": [item, item], "next_cursor": None})

    lines = invoke("messages", "list", "c1", handler=long).stdout.splitlines()
    assert [line.endswith("word word and a second line") for line in lines] == [False, True, True]
    assert len(invoke("triggers").stdout.splitlines()) == 2


def test_an_account_that_does_not_work_is_exit_code_1() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/check"):
            return httpx.Response(200, json={"ok": False, "detail": "token expired"})
        return healthy(request)

    result = invoke("channels", "check", "whatsapp", "1", handler=broken)
    assert result.exit_code == 1
    assert "token expired" in result.stderr


def _asked(*arguments: str, answers: list[Any]) -> list[tuple[str, Any]]:
    """What a command asks for, and with which body; ``answers`` come one after the other."""
    asked: list[tuple[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return healthy(request)
        asked.append((f"{request.method} {request.url.path}", json.loads(request.content or b"null")))
        return httpx.Response(200, json=answers[len(asked) - 1])

    assert invoke(*arguments, handler=answer).exit_code == 0
    return asked


def test_a_webhook_is_told_of_everything_unless_events_are_named() -> None:
    answers = [{**WEBHOOK, "secret": None}]
    (asked,) = _asked("webhooks", "create", "https://x.example", "--signing", "ed25519", answers=answers)
    assert asked == ("POST /v1/webhooks", {"url": "https://x.example", "events": ["*"], "signing": "ed25519"})


def test_only_what_is_named_of_a_webhook_changes() -> None:
    (asked,) = _asked("webhooks", "update", "w1", "--disable", "--event", "message.read", answers=[WEBHOOK])
    assert asked == ("PATCH /v1/webhooks/w1", {"enabled": False, "events": ["message.read"]})


def test_a_replay_goes_on_until_nothing_is_left() -> None:
    answers = [{"replayed": 1000, "next_cursor": "on"}, {"replayed": 5, "next_cursor": None}]
    first, second = _asked("webhooks", "replay", "w1", "--since", "2026-11-21T00:00:00Z", answers=answers)
    assert first[1] == {"since": "2026-11-21T00:00:00Z", "status": "failed"}
    assert second == (first[0], {**first[1], "cursor": "on"})


def test_a_receiver_that_does_not_take_a_ping_is_exit_code_1() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/test"):
            found = {**ANSWERS["POST /v1/webhooks/w1/test"], "ok": False, "status_code": None, "problem": "timeout"}
            return httpx.Response(200, json=found)
        return healthy(request)

    result = invoke("webhooks", "test", "w1", handler=broken)
    assert result.exit_code == 1
    assert "timeout" in result.stderr


def test_a_rate_limit_is_waited_for_as_long_as_it_asks() -> None:
    answers = iter([httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(200, json={"items": []})])
    slept: list[float] = []

    def limited(request: httpx.Request) -> httpx.Response:
        return healthy(request) if request.url.path == "/auth/token" else next(answers)

    platform = Platform(Client("http://x", "demo", "c", "s"), httpx.MockTransport(limited), sleep=slept.append)
    assert platform.get("/v1/users") == {"items": []}
    assert slept == [7]
    platform.close()


def test_a_token_that_has_ended_is_replaced_once() -> None:
    """A chat lasts longer than the hour of a token."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.path} {request.headers.get('authorization', '')}".strip())
        if request.url.path == "/auth/token":
            return httpx.Response(200, json={"access_token": f"t{len(asked)}"})
        return httpx.Response(200 if asked[-1].endswith("t3") else 401, json={})

    platform = Platform(Client("http://x", "demo", "c", "s"), httpx.MockTransport(answer))
    assert platform.get("/v1/users") == {}
    assert asked == ["/auth/token", "/v1/users Bearer t1", "/auth/token", "/v1/users Bearer t3"]
    platform = Platform(Client("http://x", "demo", "c", "s"), httpx.MockTransport(answer))
    with pytest.raises(PlatformRefused):
        platform.get("/v1/users")


def test_a_rate_limit_that_asks_for_hours_is_a_refusal() -> None:
    def limited(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "7200"})

    platform = Platform(Client("http://x", "demo", "c", "s"), httpx.MockTransport(limited))
    with pytest.raises(PlatformRefused):
        platform.get("/v1/users")
    platform.close()


def test_lists_are_read_over_as_many_pages_as_it_takes() -> None:
    def pages(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return healthy(request)
        at = int(request.url.params.get("cursor", 0))
        size = int(request.url.params["limit"])
        items = [{"user_id": f"u{n}"} for n in range(at, min(at + size, 450))]
        following = str(at + size) if at + size < 450 else None
        return httpx.Response(200, json={"items": items, "next_cursor": following})

    result = invoke("users", "list", "--limit", "1000", "--json", handler=pages)
    assert len(json.loads(result.stdout)["items"]) == 450


def _credentials(data_dir: Path, **tenants: str) -> None:
    content = {
        "url": "http://127.0.0.1:8081",
        "tenants": {name: {"client_id": f"id-{name}", "client_secret": secret} for name, secret in tenants.items()},
    }
    (data_dir / "credentials.json").write_text(json.dumps(content))


def _found(data_dir: Path, **given: str) -> Client:
    chosen: dict[str, str | None] = dict.fromkeys(("url", "tenant", "client_id", "client_secret"))
    return find_client(data_dir, **(chosen | given))


def test_credentials_come_from_the_file_of_the_first_start(tmp_path: Path) -> None:
    _credentials(tmp_path, acme="a", demo="d")
    assert _found(tmp_path) == Client("http://127.0.0.1:8081", "demo", "id-demo", "d")
    assert _found(tmp_path, tenant="acme").client_id == "id-acme"
    assert _found(tmp_path, url="http://other/").url == "http://other"


def test_what_is_given_wins_over_the_file(tmp_path: Path) -> None:
    _credentials(tmp_path, demo="d")
    assert _found(tmp_path, client_id="mine", client_secret="s").client_id == "mine"


def test_an_unknown_tenant_is_said_with_those_that_are_known(tmp_path: Path) -> None:
    _credentials(tmp_path, demo="d")
    with pytest.raises(NoCredentials, match="demo"):
        _found(tmp_path, tenant="acme")


@pytest.mark.parametrize(
    "content", ["", "[]", "{nonsense", '{"tenants": {"demo": 3}}', '{"tenants": [1]}', '{"url": 3}']
)
def test_a_broken_credentials_file_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "credentials.json").write_text(content)
    result = invoke("users", "list", data_dir=tmp_path)
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1


def test_the_tenant_may_be_said_before_the_command(tmp_path: Path) -> None:
    _credentials(tmp_path, acme="a", demo="d")
    told: list[str] = []

    def hearing(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            told.append(json.loads(request.content)["client_id"])
        return healthy(request)

    before = CliRunner().invoke(
        app,
        ["--tenant", "acme", "--json", f"--data-dir={tmp_path}", "users", "list"],
        obj=httpx.MockTransport(hearing),
    )
    assert (before.exit_code, told) == (0, ["id-acme"])
    assert json.loads(before.stdout)["items"]
    assert CliRunner().invoke(app, ["--tenant", "acme", "up"]).exit_code == 2


def test_half_a_client_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoCredentials, match="together"):
        _found(tmp_path, client_id="mine")


def test_a_client_never_shows_its_secret() -> None:
    assert "s3cr3t" not in repr(Client("http://x", "demo", "c", "s3cr3t"))
    assert "s3cr3t" not in repr(Platform(Client("http://x", "demo", "c", "s3cr3t")))


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(command, "commands", None) or {}
    if not children:
        yield path
    for name, child in children.items():
        yield from _commands(child, (*path, name))


@pytest.mark.parametrize("path", list(_commands(get_command(app))), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert f"## `chat4all {' '.join(path)}`" in reference.page()


def test_the_reference_page_is_that_of_the_commands() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run python -m shared.cli.reference"


def test_help_loads_nothing_heavy() -> None:
    heavy = "httpx fastapi pydantic rich orjson events"
    code = f"import sys, shared.cli.main; print([name for name in {heavy.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
