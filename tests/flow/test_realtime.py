"""
Open sockets and streams: what was missed, what comes, who may listen (A8, A12, A13; E11; reliability.md 5.5).

Who is told of presence, typing and receipts is in test_presence.py.
"""

import json
import os
import re
import signal
import socket as plain
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from shared.testing.live import CANARY, Caller, Deployed, Process, eventually

PATIENCE = 30.0


class Socket:
    """An open socket; ``frames`` are all that came."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[dict[str, Any]] = []

    def say(self, **frame: Any) -> None:
        self.connection.send(json.dumps(frame))

    def take(self) -> dict[str, Any]:
        self.frames.append(json.loads(self.connection.recv(timeout=PATIENCE)))
        return self.frames[-1]

    def until(self, **wanted: Any) -> dict[str, Any]:
        """The next frame that has these fields."""
        while True:
            frame = self.take()
            if wanted.items() <= frame.items():
                return frame

    def seqs(self, conversation_id: str) -> list[int]:
        return [one["seq"] for one in self.frames if one.get("conversation_id") == conversation_id and "seq" in one]

    def closed(self) -> int:
        """The code that the server closes it with."""
        with pytest.raises(ConnectionClosed) as ended:
            while True:
                self.take()
        assert ended.value.rcvd is not None
        return int(ended.value.rcvd.code)


class Sockets:
    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url, self._stack = url, stack

    def __call__(self, caller: Caller | None = None, path: str = "/ws", **options: Any) -> Socket:
        headers = {**(dict(caller.headers) if caller else {}), **options.pop("headers", {})}
        url = self.url.replace("http", "ws", 1) + path
        return Socket(
            self._stack.enter_context(
                connect(url, additional_headers=headers, max_size=None, close_timeout=1, **options)
            )
        )


@pytest.fixture
def sockets(platform: Process) -> Iterator[Sockets]:
    with ExitStack() as stack:
        yield Sockets(platform.url, stack)


@pytest.fixture
def talk(acme: Caller) -> str:
    return acme.conversation("ana", "bruno")


def words(frame: dict[str, Any]) -> str:
    said: str = frame["payload"]["text"].removesuffix(f" {CANARY}")
    return said


def test_what_was_missed_comes_in_order_once_and_then_what_is_live(acme: Caller, talk: str, sockets: Sockets) -> None:
    other = acme.conversation("bruno", "clara")
    for n in range(5):
        acme.send(talk, "ana", f"{n}")
        acme.send(other, "clara", f"{n}")
    bruno = sockets(acme.as_user("bruno"))
    ready = bruno.until(type="ready")
    assert ready["recovered"] is False
    assert bruno.seqs(talk) == bruno.seqs(other) == [1, 2, 3, 4, 5]
    assert [words(one) for one in bruno.frames if one.get("conversation_id") == talk] == list("01234")
    sent = acme.send(talk, "ana", "live", metadata={"priority": "high"})
    frame = bruno.until(type="message")
    shown = acme.history(talk)[-1]
    assert frame == {"type": "message", **{name: value for name, value in shown.items() if name != "status"}}
    assert frame["message_id"] == sent["message_id"]


def test_what_is_acknowledged_is_delivered_and_does_not_come_again(acme: Caller, talk: str, sockets: Sockets) -> None:
    sent = [acme.send(talk, "ana", f"{n}") for n in range(4)]
    bruno = acme.as_user("bruno")
    first = sockets(bruno)
    first.until(type="ready")
    first.say(type="ack", conversation_id=talk, seq=2)
    eventually(lambda: acme.status(sent[1]["message_id"]) == "DELIVERED")
    assert acme.status(sent[2]["message_id"]) == "SENT"
    second = sockets(bruno)
    second.until(type="ready")
    assert second.seqs(talk) == [3, 4]
    second.say(type="read", conversation_id=talk, seq=3)
    eventually(lambda: [acme.status(one["message_id"]) for one in sent] == ["READ", "READ", "READ", "SENT"])
    third = sockets(bruno)
    third.until(type="ready")
    assert third.seqs(talk) == [4]


def test_every_device_of_a_user_gets_everything(acme: Caller, talk: str, sockets: Sockets) -> None:
    bruno = acme.as_user("bruno")
    devices = [sockets(bruno) for _ in range(3)] + [sockets(acme.as_user("ana"))]
    for device in devices:
        device.until(type="ready")
    for n in range(20):
        acme.send(talk, "ana", f"{n}")
    for device in devices:
        device.until(type="message", seq=20)
        assert device.seqs(talk) == list(range(1, 21))


def test_a_device_resumes_from_what_it_has_itself(acme: Caller, talk: str, sockets: Sockets) -> None:
    for n in range(5):
        acme.send(talk, "ana", f"{n}")
    bruno = sockets(acme.as_user("bruno"))
    bruno.until(type="ready")
    bruno.say(type="ack", conversation_id=talk, seq=5)
    bruno.frames.clear()
    bruno.say(type="sync", cursors={talk: 3, "somewhere else": 0})
    bruno.until(type="ready")
    assert bruno.seqs(talk) == [4, 5]
    bruno.say(type="sync", cursors={talk: 10**9})
    bruno.until(type="ready")
    acme.send(talk, "ana", "after")
    bruno.until(type="message", seq=6)
    assert bruno.seqs(talk) == [4, 5, 6]


def test_who_comes_back_at_once_has_missed_nothing_that_is_kept_nowhere(
    acme: Caller, talk: str, sockets: Sockets
) -> None:
    bruno = acme.as_user("bruno")
    first = sockets(bruno)
    ready = first.until(type="ready")
    first.connection.close()
    ana = sockets(acme.as_user("ana"))
    ana.until(type="ready")
    ana.say(type="typing", conversation_id=talk)
    ana.until(type="typing", user_id="ana")
    again = sockets(bruno)
    again.until(type="ready", recovered=False)
    again.say(type="sync", cursors={}, epoch=ready["epoch"], offset=ready["offset"])
    again.until(type="typing", user_id="ana")
    assert again.until(type="ready")["recovered"] is True
    again.say(type="sync", cursors={}, epoch="another", offset=ready["offset"])
    again.until(type="ready", recovered=False)


def test_who_is_added_hears_at_once_and_who_is_removed_nothing_after(acme: Caller, sockets: Sockets) -> None:
    clara = sockets(acme.as_user("clara"))
    clara.until(type="ready")
    group = acme.conversation("ana", "bruno", type="group")
    acme.send(group, "ana", "before she came")
    acme.acting("ana").must("POST", f"/v1/conversations/{group}/members", {"user_id": "clara"})
    added = clara.until(type="message")
    assert added["payload"] == {"type": "system", "action": "added", "user_id": "clara", "by": "ana"}
    acme.send(group, "ana", "hello clara")
    assert words(clara.until(type="message")) == "hello clara"
    acme.acting("ana").must("DELETE", f"/v1/conversations/{group}/members/clara")
    acme.send(group, "ana", "without her")
    talk = acme.conversation("ana", "clara")
    acme.send(talk, "ana", "here")
    clara.until(type="message", conversation_id=talk)
    assert clara.seqs(group) == [2, 3, 4]
    assert clara.frames[-1]["conversation_id"] == talk
    clara.say(type="sync", cursors={group: 0})
    clara.until(type="ready")
    assert clara.seqs(group) == [2, 3, 4]


def test_a_conversation_that_is_made_meanwhile_is_heard(acme: Caller, sockets: Sockets) -> None:
    clara = sockets(acme.as_user("clara"))
    clara.until(type="ready")
    talk = acme.conversation("ana", "clara")
    told = clara.until(type="conversation", action="created")
    assert (told["conversation_id"], told["members"]) == (talk, ["ana", "clara"])
    acme.send(talk, "ana", "hello")
    assert words(clara.until(type="message", seq=1)) == "hello"


def test_a_long_absence_is_caught_up_while_others_write(acme: Caller, talk: str, sockets: Sockets) -> None:
    messages = [{"conversation_id": talk, "from": "ana", "payload": {"type": "text", "text": "x"}}] * 500
    acme.must("POST", "/v1/messages/batch", {"messages": messages})
    bruno = sockets(acme.as_user("bruno"))
    acme.must("POST", "/v1/messages/batch", {"messages": messages})
    bruno.until(type="message", seq=1000)
    assert bruno.seqs(talk) == list(range(1, 1001))


def test_nobody_hears_what_is_not_theirs(acme: Caller, talk: str, new_tenant: Any, sockets: Sockets) -> None:
    other = new_tenant()
    other.users("ana", "bruno")
    same = other.conversation("ana", "bruno", type="group", conversation_id=talk)
    theirs, clara = sockets(other.as_user("bruno")), sockets(acme.as_user("clara"))
    for device in (theirs, clara):
        device.until(type="ready")
    acme.send(talk, "ana", "secret")
    for name, device in (("other tenant", theirs), ("no member", clara)):
        for frame in ({"type": "ack", "seq": 1}, {"type": "read", "seq": 1}, {"type": "typing"}):
            if name == "no member" or frame["type"] != "typing":
                device.say(**frame, conversation_id=talk)
                assert device.until(type="error")["code"] in ("not-found", "invalid")
        device.say(type="sync", cursors={talk: 0})
        device.until(type="ready")
        assert device.seqs(talk) == []
    other.send(same, "ana", "of the other")
    assert words(theirs.until(type="message", seq=1)) == "of the other"


def test_four_ways_to_say_who_one_is(acme: Caller, talk: str, sockets: Sockets, platform: Process) -> None:
    acme.send(talk, "ana", "hello")
    bruno = acme.as_user("bruno")
    ticket = bruno.must("POST", "/v1/ws/ticket")
    assert ticket["expires_in"] == 30
    as_client = {"authorization": f"Bearer {acme.token}"}
    ways = [
        sockets(bruno),
        sockets(path=f"/ws?token={bruno.token}"),
        sockets(path=f"/ws?ticket={ticket['ticket']}"),
        sockets(headers={**as_client, "x-act-as": "bruno"}),
        sockets(path=f"/ws?act_as=bruno&token={acme.token}"),
        sockets(),
        sockets(),
    ]
    ways[-2].say(type="auth", token=bruno.token)
    ways[-1].say(type="auth", token=acme.token, act_as="bruno")
    for way in ways:
        way.until(type="ready")
        assert way.seqs(talk) == [1]
    said = platform.log.read_text() + platform.said
    assert bruno.token not in said
    assert ticket["ticket"] not in said


def test_a_ticket_is_good_once_and_for_its_page_only(acme: Caller, sockets: Sockets) -> None:
    bruno = acme.as_user("bruno")
    page = {"origin": sockets.url}
    used = bruno.must("POST", "/v1/ws/ticket", headers=page)["ticket"]
    sockets(path=f"/ws?ticket={used}", headers=page).until(type="ready")
    assert sockets(path=f"/ws?ticket={used}", headers=page).closed() == 4401
    for asked, came in ((page, {}), ({}, page)):
        stolen = bruno.must("POST", "/v1/ws/ticket", headers=asked)["ticket"]
        assert sockets(path=f"/ws?ticket={stolen}", headers=came).closed() == 4401
        assert sockets(path=f"/ws?ticket={stolen}", headers=asked).closed() == 4401, "it was shown to somebody"
    assert sockets(path="/ws?ticket=made.up").closed() == 4401
    answer = acme.acting("nobody")("POST", "/v1/ws/ticket")
    assert answer.status_code == 404


def test_who_is_nobody_is_told_so_and_closed(acme: Caller, sockets: Sockets) -> None:
    for path, code in (
        ("/ws?token=no", 4401),
        (f"/ws?token={acme.token[:-6]}AAAAAA", 4401),
        (f"/ws?token={acme.token}", 4400),
        (f"/ws?token={acme.token}&act_as=nobody", 4403),
        (f"/ws?token={acme.as_user('ana').token}&act_as=bruno", 4403),
    ):
        opened = sockets(path=path)
        assert opened.closed() == code, path
        assert opened.frames[0]["type"] == "error"
    first = sockets()
    first.say(type="pong")
    assert first.closed() == 4401
    broken = sockets()
    broken.connection.send('{"type": "dance"')
    assert broken.closed() == 4400
    began = time.monotonic()
    assert sockets().closed() == 4401
    assert 4 < time.monotonic() - began < 10


def test_a_page_of_a_foreign_origin_is_refused_at_the_handshake(acme: Caller, sockets: Sockets) -> None:
    bruno = acme.as_user("bruno")
    sockets(bruno, headers={"origin": sockets.url}).until(type="ready")
    with pytest.raises(InvalidStatus) as refused:
        sockets(bruno, headers={"origin": "https://evil.example"})
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["type"].endswith("/forbidden")
    with pytest.raises(InvalidStatus) as nowhere:
        sockets(bruno, path="/elsewhere")
    assert nowhere.value.response.status_code == 404
    stream = bruno("GET", "/v1/stream", headers={"origin": "https://evil.example"})
    assert stream.status_code == 403
    assert bruno("POST", "/v1/stream").headers["allow"] == "GET"


def test_who_asks_without_an_upgrade_is_told_of_it(platform: Process) -> None:
    answer = platform.client().get("/ws")
    assert answer.status_code == 426
    if not isinstance(platform, Deployed):  # a header of one hop: what stands between keeps it to itself
        assert answer.headers["upgrade"] == "websocket"
    said = answer.json()
    assert said["type"].endswith("/upgrade-required") and "docs/guides/realtime.md" in said["detail"]
    assert answer.headers["traceparent"].split("-")[1] == said["trace_id"]


def test_what_cannot_be_understood_is_answered_and_harms_nothing(acme: Caller, talk: str, sockets: Sockets) -> None:
    bruno = sockets(acme.as_user("bruno"))
    bruno.until(type="ready")
    for junk in ("", "x", "[]", "{}", '{"type": "dance"}', '{"type": "ack"}', "\ud83d", b"\xff\xfe", '{"type": 7}',
                 '{"type": "dance"', '{"type": "ack", "conversation_id": 5',
                 f'{{"type": "ack", "conversation_id": "{talk}", "seq": 0}}',
                 f'{{"type": "ack", "conversation_id": "{talk}", "seq": 1}}'):  # fmt: skip
        bruno.connection.send(junk.encode("utf-8", "replace").decode() if isinstance(junk, str) else junk)
        assert bruno.until(type="error")["code"] == "invalid"
    bruno.say(type="ack", conversation_id=talk)
    assert bruno.until(type="error")["detail"] == "ack: Object missing required field `seq`"
    bruno.say(type="dance")
    assert bruno.until(type="error")["detail"].startswith("no frame that we know")
    acme.send(talk, "ana", "still here")
    assert words(bruno.until(type="message")) == "still here"
    bruno.connection.send("x" * 70_000)
    assert bruno.closed() == 1009


def test_a_user_has_so_many_sockets_and_not_more(acme: Caller, sockets: Sockets) -> None:
    bruno = acme.as_user("bruno")
    for _ in range(10):
        sockets(bruno).until(type="ready")
    assert sockets(bruno).closed() == 4429
    assert bruno("GET", "/v1/stream").status_code == 429
    sockets(acme.as_user("ana")).until(type="ready")


def test_frames_beyond_the_rate_wait_and_are_not_lost(acme: Caller, talk: str, sockets: Sockets) -> None:
    bruno = sockets(acme.as_user("bruno"))
    bruno.until(type="ready")
    began = time.monotonic()
    for _ in range(45):
        bruno.say(type="ack", conversation_id=talk, seq=1)
    for _ in range(45):
        bruno.until(type="error", code="invalid")
    assert time.monotonic() - began > 1


def test_a_slow_reader_is_cut_and_resumes(acme: Caller, talk: str, sockets: Sockets) -> None:
    small = plain.socket()
    small.setsockopt(plain.SOL_SOCKET, plain.SO_RCVBUF, 4096)
    address = httpx.URL(sockets.url)
    small.connect((address.host, address.port or 80))
    bruno = acme.as_user("bruno")
    slow = sockets(bruno, sock=small, max_queue=1)
    payload = {"type": "text", "text": "x" * 30_000}
    messages = [{"conversation_id": talk, "from": "ana", "payload": payload}] * 100
    acme.must("POST", "/v1/messages/batch", {"messages": messages})
    slow.until(type="ready")
    acme.must("POST", "/v1/messages/batch", {"messages": messages})
    acme.must("POST", "/v1/messages/batch", {"messages": messages})
    eventually(lambda: cut(acme, "slow") >= 1)
    with pytest.raises(ConnectionClosed):
        while True:
            slow.take()
    had = slow.seqs(talk)
    assert had == list(range(1, len(had) + 1))
    assert len(had) < 300
    again = sockets(bruno)
    again.say(type="sync", cursors={talk: had[-1]})
    again.until(type="ready")
    again.frames.clear()
    again.until(type="ready")
    assert again.seqs(talk) == list(range(had[-1] + 1, 301))


def cut(acme: Caller, reason: str) -> float:
    """How many sockets were cut for it."""
    page = acme.http.get("/metrics").text
    found = [line for line in page.splitlines() if line.startswith(f'chat4all_sockets_cut_total{{reason="{reason}"}}')]
    return float(found[0].split()[-1]) if found else 0.0


def test_a_token_that_ends_soon_is_told_of_and_can_be_renewed(acme: Caller, sockets: Sockets) -> None:
    short = acme.must("POST", "/v1/users/bruno/tokens", {"ttl_seconds": 60})["access_token"]
    bruno = sockets(path=f"/ws?token={short}")
    bruno.until(type="ready")
    assert "expires_at" in bruno.until(type="auth.expiring")
    bruno.say(type="auth", token=acme.as_user("ana").token)
    assert bruno.until(type="error")["code"] == "forbidden"
    bruno.say(type="auth", token=acme.as_user("bruno").token)
    assert "expires_at" in bruno.until(type="auth.renewed")


def test_an_erased_users_socket_is_closed_within_five_seconds(acme: Caller, sockets: Sockets) -> None:
    clara = sockets(acme.as_user("clara"))
    clara.until(type="ready")
    acme.must("DELETE", "/v1/users/clara")
    began = time.monotonic()
    assert clara.closed() == 4401
    assert time.monotonic() - began < 6


def events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """(id, frame), as EventSource would have it."""
    last = ""
    for line in response.iter_lines():
        if line.startswith("id: "):
            last = line.removeprefix("id: ")
        elif line.startswith("data: "):
            yield last, json.loads(line.removeprefix("data: "))


def test_a_stream_is_the_same_and_goes_on_where_its_reader_was(acme: Caller, talk: str) -> None:
    bruno = acme.as_user("bruno")
    for n in range(3):
        acme.send(talk, "ana", f"{n}")
    with bruno.http.stream("GET", "/v1/stream", headers=dict(bruno.headers)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        came = events(response)
        ids, frames = zip(*(next(came) for _ in range(4)), strict=True)
        assert [(one["type"], one.get("seq")) for one in frames] == [
            ("message", 1), ("message", 2), ("message", 3), ("ready", None),
        ]  # fmt: skip
        acme.send(talk, "ana", "live")
        assert next(came)[1]["seq"] == 4
    with bruno.http.stream("GET", "/v1/stream", headers={**bruno.headers, "last-event-id": ids[1]}) as response:
        came = events(response)
        assert [one[1].get("seq") for one in (next(came), next(came), next(came))] == [3, 4, None]
    ticket = bruno.must("POST", "/v1/ws/ticket")["ticket"]
    with bruno.http.stream("GET", f"/v1/stream?ticket={ticket}", headers={"last-event-id": "?=&x=y&%ff=1"}) as response:
        assert next(events(response))[1]["seq"] == 1
    assert acme.http.get("/v1/stream").status_code == 401
    assert acme.http.get("/v1/stream?token=no").status_code == 401
    assert bruno("POST", "/v1/stream").status_code == 405


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Process]:
    with Process(tmp_path / "data") as running:
        yield running.start()


GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/realtime.md"


def test_the_guides_client_runs_and_acknowledges(acme: Caller, talk: str, platform: Process, tmp_path: Path) -> None:
    program = re.search(r"^```python\n(.+?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert program is not None
    file = tmp_path / "client.py"
    file.write_text(program[1])
    acme.send(talk, "ana", "one")
    command = [sys.executable, str(file), platform.url.replace("http", "ws", 1) + "/ws", acme.as_user("bruno").token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout is not None
            assert any("'seq': 1" in line for line in client.stdout)  # others may come before
            second = acme.send(talk, "ana", "two")["message_id"]
            eventually(lambda: acme.status(second) == "DELIVERED")
        finally:
            client.terminate()


def test_the_guide_shows_the_gateways_own_frames_as_they_come(acme: Caller, talk: str, sockets: Sockets) -> None:
    lines = [json.loads(line) for line in GUIDE.read_text().splitlines() if line.startswith('{"type"')]
    shown = {line["type"]: set(line) for line in lines}
    listener = sockets(acme.as_user("ana"))
    listener.until(type="ready")
    listener.say(type="auth", token=acme.as_user("ana").token)
    listener.until(type="auth.renewed")
    listener.say(type="ack", conversation_id="x", seq=1)
    listener.until(type="error")
    listener.until(type="ping")
    assert {frame["type"]: set(frame) for frame in listener.frames}.items() <= shown.items()


def test_a_killed_process_loses_nobody_a_message(own: Process) -> None:
    acme = own.tenant("acme")
    acme.users("ana", "bruno")
    talk = acme.conversation("ana", "bruno")
    bruno = acme.as_user("bruno")
    had: list[int] = []
    for life in range(3):
        with ExitStack() as stack:
            device = Sockets(own.url, stack)(bruno)
            device.say(type="sync", cursors={talk: had[-1] if had else 0})
            device.until(type="ready")
            device.frames.clear()
            device.until(type="ready")
            for n in range(30):
                acme.send(talk, "ana", f"{life}/{n}")
                if n == 20:
                    device.until(type="message", seq=life * 30 + 10)
            assert own.child is not None
            os.kill(own.child.pid, signal.SIGKILL)
            own.child.wait()
            with pytest.raises(ConnectionClosed):
                while True:
                    device.take()
            had += device.seqs(talk)
        assert had == list(range(1, len(had) + 1))
        own.start()
    with ExitStack() as stack:
        device = Sockets(own.url, stack)(bruno)
        device.say(type="sync", cursors={talk: had[-1]})
        device.until(type="ready")
        device.frames.clear()
        device.until(type="ready")
        assert had + device.seqs(talk) == list(range(1, 91))
    assert [one["seq"] for one in acme.history(talk, limit=200)] == list(range(1, 91))


def test_sockets_are_told_when_the_process_stops(own: Process) -> None:
    acme = own.tenant("acme")
    acme.users("ana", "bruno")
    with ExitStack() as stack:
        device = Sockets(own.url, stack)(acme.as_user("ana"))
        device.until(type="ready")
        began = time.monotonic()
        assert own.child is not None
        own.child.terminate()
        assert device.closed() == 1012
        assert own.child.wait(30) == 0
        assert time.monotonic() - began < 5
