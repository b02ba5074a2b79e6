"""The receiver of webhooks trusts nothing that is not signed (D1; reliability.md 1.1)."""

import base64
import json
import queue
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from standardwebhooks.webhooks import Webhook
from typer.testing import CliRunner

from shared.cli.command import Connection, Session
from shared.cli.commands.listen import follow, subscribed
from shared.cli.main import app
from shared.cli.output import Output
from shared.cli.platform import PlatformRefused
from shared.cli.webhook_receiver import Received, WebhookReceiver, shown_webhook
from shared.runtime import start_error

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
BODY = json.dumps({"type": "message.read", "data": {"message_id": "m1", "recipient": "ana", "status": "READ"}})


class Inbox:
    def __init__(self) -> None:
        self.received: queue.SimpleQueue[Received] = queue.SimpleQueue()
        self.receiver = WebhookReceiver(self.received.put)

    def post(self, headers: dict[str, str], body: str = BODY) -> tuple[int, Received]:
        answer = httpx.post(self.receiver.url, content=body, headers=headers)
        return answer.status_code, self.received.get(timeout=5)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    inbox.receiver.secret = SECRET
    with inbox.receiver:
        yield inbox


def signed(body: str = BODY, secret: str = SECRET, webhook_id: str = "msg_1") -> dict[str, str]:
    now = datetime.now(UTC)  # noqa: TID251 - the receiver compares it with the real time
    signature = Webhook(secret).sign(webhook_id, now, body)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }


def test_what_is_signed_is_taken(inbox: Inbox) -> None:
    status, received = inbox.post(signed())
    assert (status, received.refused, received.webhook_id) == (204, None, "msg_1")
    assert received.body["type"] == "message.read"
    assert shown_webhook(received) == "message.read  message_id=m1  recipient=ana  status=READ"


def test_what_comes_before_the_secret_waits_for_it() -> None:
    inbox = Inbox()
    inbox.receiver.expect_secret()
    with inbox.receiver, ThreadPoolExecutor(1) as caller:
        asked = caller.submit(inbox.post, signed())
        assert not wait([asked], timeout=0.3).done
        inbox.receiver.secret = SECRET
        status, received = asked.result(timeout=5)
    assert (status, received.refused) == (204, None)


def test_what_comes_before_a_secret_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.cli.webhook_receiver._SECRET_WITHIN", 0.1)
    inbox = Inbox()
    inbox.receiver.expect_secret()
    with inbox.receiver:
        status, received = inbox.post(signed())
    assert (status, received.refused) == (401, "no secret to verify it with")


class Registering:
    """The platform, as far as webhooks are registered; ``refuses``: they are not."""

    def __init__(self, *, refuses: bool) -> None:
        self.refuses, self.deleted = refuses, list[str]()

    def post(self, path: str, body: object) -> dict[str, str]:
        if self.refuses:
            raise PlatformRefused(422, {"title": "no address of yours"})
        return {"webhook_id": "w1", "secret": SECRET}

    def call(self, method: str, path: str) -> None:
        self.deleted.append(f"{method} {path}")


def test_a_registration_that_is_refused_keeps_no_caller_waiting() -> None:
    inbox, platform = Inbox(), Registering(refuses=True)
    session = cast("Session", SimpleNamespace(platform=platform))
    with inbox.receiver:
        with pytest.raises(PlatformRefused), subscribed(session, inbox.receiver, inbox.receiver.url, ["*"]):
            raise AssertionError("it was registered")
        began = monotonic()
        assert inbox.post(signed())[0] == 401
    assert monotonic() - began < 2
    assert platform.deleted == []


def test_what_was_registered_is_removed_when_something_breaks() -> None:
    inbox, platform = Inbox(), Registering(refuses=False)
    session = cast("Session", SimpleNamespace(platform=platform))
    registered = subscribed(session, inbox.receiver, inbox.receiver.url, ["*"])
    with inbox.receiver, pytest.raises(KeyboardInterrupt), registered:
        assert inbox.post(signed())[0] == 204
        raise KeyboardInterrupt
    assert platform.deleted == ["DELETE /v1/webhooks/w1"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(secret="whsec_" + base64.b64encode(bytes(32)).decode()),
        signed() | {"webhook-id": "msg_2"},
        signed() | {"webhook-timestamp": "1000000000"},
        signed() | {"webhook-signature": "v1,not-base64!"},
        signed() | {"webhook-signature": "nonsense"},
        signed(body=BODY + " "),
    ],
    ids=["unsigned", "other key", "other id", "old", "no base64", "nonsense", "other body"],
)
def test_what_does_not_hold_is_refused_and_its_content_is_not_shown(inbox: Inbox, headers: dict[str, str]) -> None:
    status, received = inbox.post(headers)
    assert status == 401
    assert received.refused
    assert received.body is None
    assert "message.read" not in shown_webhook(received)


def test_without_a_secret_nothing_is_trusted(inbox: Inbox) -> None:
    inbox.receiver.secret = None
    assert inbox.post(signed())[0] == 401


def test_what_was_received_before_is_said_to_be_a_repeat(
    inbox: Inbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forged one makes no repeat of the true one that comes after it, and is shown but not counted."""
    session = Session(Connection(tmp_path, None, None, None, None), Output(as_json=True))
    received: queue.SimpleQueue[Received] = queue.SimpleQueue()
    for one in (Received("m1", None, "forged"), Received("m1", {}), Received("m2", {}), Received("m1", {})):
        received.put(one)
    follow(session, inbox.receiver, received, count=3)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("repeat_of") for line in lines] == [None, None, None, "m1"]


@pytest.mark.parametrize(
    "secret", ["foo", "whsec_foo", "whsec_" + base64.b64encode(b"short").decode(), "whpk_" + SECRET]
)
def test_a_secret_that_verifies_nothing_is_refused(secret: str) -> None:
    result = CliRunner().invoke(app, ["listen", "--secret", secret])
    assert result.exit_code == 2
    assert "whsec_" in result.stderr


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["listen", "--secret", SECRET, "--port", port])
    assert result.exit_code == start_error.PORT_IN_USE
    (line,) = result.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "--port" in line


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "2001:db8::1"])
def test_a_host_that_is_not_of_this_machine_is_not_blamed_on_the_port(host: str) -> None:
    result = CliRunner().invoke(app, ["listen", "--secret", SECRET, "--host", host])
    assert result.exit_code == 2
    assert "--host" in result.stderr
    assert "--port" not in result.stderr


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="the system has no IPv6")
def test_it_listens_on_ipv6_too() -> None:
    received: queue.SimpleQueue[Received] = queue.SimpleQueue()
    receiver = WebhookReceiver(received.put, host="::1")
    receiver.secret = SECRET
    with receiver:
        assert httpx.URL(receiver.url).host == "::1"
        assert httpx.post(receiver.url, content=BODY, headers=signed()).status_code == 204
    assert received.get(timeout=5).webhook_id == "msg_1"


def test_a_body_that_is_too_large_is_not_read(inbox: Inbox) -> None:
    connection = HTTPConnection(httpx.URL(inbox.receiver.url).netloc.decode())
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", "99999999")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
